"""The order: which sample stands at which position. A pure function of the seed and the samples' numbers.

Shards are permuted, cut into blocks of at least ten, and the samples are permuted inside a block. Ten shards
give a good mix, and only a block's need be open at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

BLOCK_SHARDS = 10
"""A block has at least this many shards, where there are as many."""

Place = tuple[int, int]
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
    """The positions `first`, `first + 1` … of the endless sequence whose shards are open together.

    places: of each position. shapes: of each position's picture, where a batch has one shape; else None.
    """

    epoch: int
    first: int
    places: list[Place]
    shapes: list[Shape | None] | None = None

    @property
    def stop(self) -> int:
        return self.first + len(self.places)

    @property
    def shards(self) -> set[int]:
        return {shard for shard, _ in self.places}

    def shape(self, position: int) -> Shape | None:
        """(width, height) of the pictures of the position's batch; None where they may differ."""
        return None if self.shapes is None else self.shapes[position - self.first]


class Order(Protocol):
    """The endless sequence: position p is number p % len of epoch p // len. Nothing of it is stored.

    batch: positions that belong together: t * batch, … (t + 1) * batch - 1 have one shape, where they have any.
    """

    batch: int

    def __len__(self) -> int:
        """Positions in an epoch."""

    def block(self, position: int) -> Block:
        """The block that holds the position."""

    def without(self, held_out: AbstractSet[Place]) -> Order:
        """The order of the other samples."""

    def describe(self) -> Mapping[str, Any]:
        """What decides it beside the seed and the shards, as JSON; empty where nothing does."""


def cut_blocks(shards: Sequence[int]) -> list[Sequence[int]]:
    """Blocks of at least BLOCK_SHARDS shards and as even as can be, or one block of all there are."""
    blocks = max(1, len(shards) // BLOCK_SHARDS)
    ends = [number * len(shards) // blocks for number in range(blocks + 1)]
    return [shards[first:end] for first, end in pairwise(ends)]


class Kept:
    """The samples of each shard that are not held out. counts: by shard, of those that may be handed out."""

    def __init__(self, counts: Mapping[int, int], held_out: AbstractSet[Place]) -> None:
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

    def without(self, held_out: AbstractSet[Place]) -> Kept:
        return Kept(self.counts, self.held_out | held_out)

    def describe(self) -> Mapping[str, Any]:
        """What is held out, as JSON; empty where nothing is."""
        return {"held out": sorted(map(list, self.held_out))} if self.held_out else {}


class BlockOrder:
    """The order of `seed` over the samples that are kept.

    One epoch's shards and one block's samples are permuted to find a position, whatever came before it.
    """

    batch = 1

    def __init__(self, seed: int, kept: Kept) -> None:
        self._seed, self._kept = seed, kept
        self._shards = np.array(sorted(kept.counts), np.int64)
        self._len = sum(map(kept.count, kept.counts))
        self._epoch: tuple[int, list[Sequence[int]], np.ndarray] | None = None

    def __len__(self) -> int:
        return self._len

    def block(self, position: int) -> Block:
        epoch, place = divmod(position, self._len)
        blocks, ends = self._blocks(epoch)
        number = int(np.searchsorted(ends, place, side="right"))
        places = [(shard, index) for shard in blocks[number] for index in self._kept.indices(shard).tolist()]
        order = permute(len(places), self._seed, epoch, number + 1)
        first = epoch * self._len + int(ends[number]) - len(places)
        return Block(epoch, first, [places[i] for i in order.tolist()])

    def without(self, held_out: AbstractSet[Place]) -> BlockOrder:
        return BlockOrder(self._seed, self._kept.without(held_out))

    def describe(self) -> Mapping[str, Any]:
        return self._kept.describe()

    def _blocks(self, epoch: int) -> tuple[list[Sequence[int]], np.ndarray]:
        """The shards of each block of an epoch, and the position in the epoch at which each block ends."""
        if self._epoch is None or self._epoch[0] != epoch:
            blocks = cut_blocks(self._shards[permute(len(self._shards), self._seed, epoch)].tolist())
            sizes = [sum(map(self._kept.count, block)) for block in blocks]
            self._epoch = (epoch, blocks, np.cumsum(sizes))
        return self._epoch[1], self._epoch[2]
