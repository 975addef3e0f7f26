"""The order: which sample has which position. A pure function of the seed and the samples' numbers.

Shards are permuted, dealt to the lanes, cut into blocks of at least ten, and the samples are permuted inside a
block. Ten shards give a good mix, and only a block's need be open at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

from t2i_shards.pipeline.stream.lanes import ONE_LANE, Lanes

T = TypeVar("T")
BLOCK_SHARDS = 10
"""A block has at least this many shards, where there are as many."""

SampleIndex = tuple[int, int]
"""(shard, index of a sample among those of the shard that may be handed out)"""

Shape = tuple[int, int]
"""(width, height) of a stored picture."""


def permute(count: int, *seed: int) -> np.ndarray:
    """int64 (count,): a permutation that depends on the seed numbers alone.

    numpy promises that the raw bits of a bit generator never change from release to release, but not what
    `Generator.permutation` makes of them.
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(bits, kind="stable")


@dataclass(frozen=True)
class Block:
    """The positions whose shards are open together: those with index `first`, `first + 1` … of a lane.

    samples: of each position. shapes: of each position's picture, where a batch has one shape; else None.
    With one lane the index of a position is the position.
    """

    epoch: int
    first: int
    samples: list[SampleIndex]
    shapes: list[Shape | None] | None = None
    lane: int = 0

    @property
    def stop(self) -> int:
        return self.first + len(self.samples)

    @property
    def shards(self) -> set[int]:
        return {shard for shard, _ in self.samples}

    def holds(self, lane: int, index: int) -> bool:
        return lane == self.lane and self.first <= index < self.stop

    def shape(self, index: int) -> Shape | None:
        """(width, height) of the pictures of a position's batch; None where they may differ."""
        return None if self.shapes is None else self.shapes[index - self.first]


class Order(Protocol):
    """The endless sequence: position p is number p % len of epoch p // len. Nothing of it is stored.

    batch: positions that belong together: t * batch, … (t + 1) * batch - 1 have one shape, where they have any.
    lanes: what each position's block is one of.
    """

    batch: int
    lanes: Lanes

    def __len__(self) -> int:
        """Positions in an epoch."""

    def block(self, position: int) -> Block:
        """The block that holds the position."""

    def without(self, held_out: AbstractSet[SampleIndex]) -> Order:
        """The order of the other samples."""

    def describe(self) -> Mapping[str, Any]:
        """What else the order depends on apart from the seed and the shards, as JSON; empty where nothing."""


def cut_blocks(shards: Sequence[T]) -> list[Sequence[T]]:
    """Blocks of at least BLOCK_SHARDS shards and as even as can be, or one block of all there are."""
    blocks = max(1, len(shards) // BLOCK_SHARDS)
    ends = [number * len(shards) // blocks for number in range(blocks + 1)]
    return [shards[first:end] for first, end in pairwise(ends)]


class SampleIndices:
    """The samples of each shard that are not held out. counts: by shard, of those that may be handed out."""

    def __init__(self, counts: Mapping[int, int], held_out: AbstractSet[SampleIndex]) -> None:
        self.counts, self.held_out = counts, held_out
        self._gaps: dict[int, list[int]] = {}
        for shard, index in held_out:
            self._gaps.setdefault(shard, []).append(index)

    def count(self, shard: int) -> int:
        return self.counts[shard] - len(self._gaps.get(shard, ()))

    def indices(self, shard: int) -> np.ndarray:
        """int64 (count,), ascending."""
        everything = np.arange(self.counts[shard])
        return np.setdiff1d(everything, self._gaps[shard]) if shard in self._gaps else everything

    def without(self, held_out: AbstractSet[SampleIndex]) -> SampleIndices:
        return SampleIndices(self.counts, self.held_out | held_out)

    def describe(self) -> Mapping[str, Any]:
        """What is held out, as JSON; empty where nothing is."""
        return {"held out": sorted(map(list, self.held_out))} if self.held_out else {}


@dataclass(frozen=True)
class _Piece:
    """Samples `first` to before `stop` of a shard, counted among those that are kept."""

    shard: int
    first: int
    stop: int


@dataclass(frozen=True)
class _Epoch:
    """blocks: of all lanes, lane after lane. first: by lane, the number of its first block.

    ends: by lane, int64, how many of the lane's positions of the epoch come before the end of each of its blocks.
    """

    number: int
    blocks: list[Sequence[_Piece]]
    first: list[int]
    ends: list[np.ndarray]


class BlockOrder:
    """The order of `seed` over the samples that are kept, in lanes.

    One epoch's shards and one block's samples are permuted to find a position, whatever came before it.
    """

    batch = 1

    def __init__(self, seed: int, sample_indices: SampleIndices, lanes: Lanes = ONE_LANE) -> None:
        self._seed, self._sample_indices, self.lanes = seed, sample_indices, lanes
        self._shards = np.array(sorted(sample_indices.counts), np.int64)
        self._len = sum(map(sample_indices.count, sample_indices.counts))
        self._epoch: _Epoch | None = None

    def __len__(self) -> int:
        return self._len

    def block(self, position: int) -> Block:
        number, _ = divmod(position, self._len)
        epoch = self._cut(number)
        lane, index = self.lanes.locate(position)
        start = self.lanes.before(lane, number * self._len)
        ends = epoch.ends[lane]
        block = int(np.searchsorted(ends, index - start, side="right"))
        pieces = epoch.blocks[epoch.first[lane] + block]
        samples = [
            (piece.shard, sample)
            for piece in pieces
            for sample in self._sample_indices.indices(piece.shard)[piece.first : piece.stop].tolist()
        ]
        order = permute(len(samples), self._seed, number, epoch.first[lane] + block + 1)
        first = start + int(ends[block]) - len(samples)
        return Block(number, first, [samples[i] for i in order.tolist()], lane=lane)

    def without(self, held_out: AbstractSet[SampleIndex]) -> BlockOrder:
        return BlockOrder(self._seed, self._sample_indices.without(held_out), self.lanes)

    def describe(self) -> Mapping[str, Any]:
        return {**self._sample_indices.describe(), **self.lanes.describe()}

    def _cut(self, number: int) -> _Epoch:
        """The blocks of an epoch: the permuted shards are dealt to the lanes, to each as many samples as it has
        positions in the epoch; a shard at the border of two lanes is divided."""
        if self._epoch is None or self._epoch.number != number:
            shards = self._shards[permute(len(self._shards), self._seed, number)]
            stops = np.cumsum([self._sample_indices.count(shard) for shard in shards.tolist()])
            epoch = _Epoch(number, [], [], [])
            first = 0
            for lane in range(len(self.lanes)):
                bounds = (number * self._len, (number + 1) * self._len)
                start, stop = (self.lanes.before(lane, bound) for bound in bounds)
                blocks = cut_blocks(_deal(shards, stops, first, first + stop - start))
                first += stop - start
                epoch.first.append(len(epoch.blocks))
                epoch.blocks.extend(blocks)
                sizes = [sum(piece.stop - piece.first for piece in block) for block in blocks]
                epoch.ends.append(np.cumsum(sizes))
            self._epoch = epoch
        return self._epoch


def _deal(shards: np.ndarray, stops: np.ndarray, first: int, stop: int) -> list[_Piece]:
    """The pieces that hold samples `first` to `stop - 1` of the permuted shards.

    stops: for each shard, the number of samples up to its end. Empty shards at either end are kept in the first
    and the last lane: they count when blocks are cut, and the order with one lane must not change.
    """
    begin = int(np.searchsorted(stops, first, side="right")) if first else 0
    end = len(shards) if stop == stops[-1] else int(np.searchsorted(stops, stop, side="left")) + 1
    starts = np.concatenate([[0], stops[:-1]])
    return [
        _Piece(int(shard), max(first - int(start), 0), int(min(stop, end_) - start))
        for shard, start, end_ in zip(shards[begin:end], starts[begin:end], stops[begin:end], strict=True)
    ]
