"""Aspect buckets: an order in which every batch has pictures of one stored size.

Each block of shards gives its samples size by size; a batch is handed out in the block that completes it, and
what a block leaves over of a size waits for the next block that has some. What is left at the end of the epoch,
less than a batch of each size, is mixed and comes last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np

from t2i_shards.pipeline.stream.lanes import ONE_LANE
from t2i_shards.pipeline.stream.order import Block, SampleIndex, SampleIndices, Shape, cut_blocks, permute
from t2i_shards.pipeline.stream.shapes import Shapes


@dataclass(frozen=True)
class _Epoch:
    """blocks: their shards. counts: int64 (blocks + 1, shapes), of each shape before each block, and at the end.

    ends: int64 (blocks,), the position in the epoch at which each block's batches end.
    """

    number: int
    blocks: list[Sequence[int]]
    counts: np.ndarray
    ends: np.ndarray


class BucketOrder:
    """The order of `seed` over the samples that are kept, in batches of `batch`.

    An epoch is a whole number of batches: of the mixed rest, less than one batch is left out, each epoch others.
    A block also needs the shards of the samples that wait since earlier blocks, less than a batch of each size.
    All readers share one lane: the ranks of a step need pictures of the same size.
    """

    lanes = ONE_LANE

    def __init__(self, seed: int, sample_indices: SampleIndices, shapes: Shapes, batch: int) -> None:
        self._seed, self._sample_indices, self._shapes, self.batch = seed, sample_indices, shapes, batch
        self._shards = np.array(sorted(sample_indices.counts), np.int64)
        self._len = sum(map(sample_indices.count, sample_indices.counts)) // batch * batch
        self._by_shard = {
            s: np.bincount(self._numbers(s), minlength=len(shapes.shapes)) for s in sample_indices.counts
        }
        self._epoch: _Epoch | None = None

    def __len__(self) -> int:
        return self._len

    def without(self, held_out: AbstractSet[SampleIndex]) -> BucketOrder:
        return BucketOrder(self._seed, self._sample_indices.without(held_out), self._shapes, self.batch)

    def describe(self) -> Mapping[str, Any]:
        return {**self._sample_indices.describe(), "buckets": self.batch, "shapes": self._shapes.digest()}

    def block(self, position: int) -> Block:
        number, index = divmod(position, self._len)
        epoch = self._cut(number)
        block = int(np.searchsorted(epoch.ends, index, side="right"))
        if block == len(epoch.blocks):
            return self._rest(epoch)
        batches: list[tuple[int, list[SampleIndex]]] = []
        for shape in range(len(self._shapes.shapes)):
            first, last = epoch.counts[block : block + 2, shape] // self.batch * self.batch
            samples = self._sequence(epoch, shape, block + 1, int(epoch.counts[block + 1, shape] - first))
            cut = range(0, int(last - first), self.batch)
            batches += [(shape, samples[start : start + self.batch]) for start in cut]
        order = permute(len(batches), self._seed, number, block + 1)
        batches = [batches[i] for i in order.tolist()]
        shapes: list[Shape | None] = [
            self._shapes.shapes[shape] for shape, _ in batches for _ in range(self.batch)
        ]
        start = number * self._len + int(epoch.ends[block]) - len(shapes)
        return Block(number, start, [index for _, samples in batches for index in samples], shapes)

    def _rest(self, epoch: _Epoch) -> Block:
        """The mixed batches at the end of the epoch."""
        samples: list[SampleIndex] = []
        for shape, count in enumerate((epoch.counts[-1] % self.batch).tolist()):
            samples += self._sequence(epoch, shape, len(epoch.blocks), count)
        first = int(epoch.ends[-1])
        order = permute(len(samples), self._seed, epoch.number, len(epoch.blocks) + 1)[: self._len - first]
        return Block(epoch.number, epoch.number * self._len + first, [samples[i] for i in order.tolist()])

    def _sequence(self, epoch: _Epoch, shape: int, stop: int, count: int) -> list[SampleIndex]:
        """The last `count` samples of a shape in the blocks before `stop`."""
        samples: list[SampleIndex] = []
        while len(samples) < count:
            stop -= 1
            samples = self._of_shape(epoch, shape, stop) + samples
        return samples[len(samples) - count :]

    def _of_shape(self, epoch: _Epoch, shape: int, block: int) -> list[SampleIndex]:
        """The samples of a shape in a block, permuted."""
        if epoch.counts[block, shape] == epoch.counts[block + 1, shape]:
            return []
        samples = [
            (shard, index)
            for shard in epoch.blocks[block]
            for index in self._sample_indices.indices(shard)[self._numbers(shard) == shape].tolist()
        ]
        order = permute(len(samples), self._seed, epoch.number, block + 1, shape + 1)
        return [samples[i] for i in order.tolist()]

    def _numbers(self, shard: int) -> np.ndarray:
        numbers: np.ndarray = self._shapes.numbers[shard][self._sample_indices.indices(shard)]
        return numbers

    def _cut(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            blocks = cut_blocks(self._shards[permute(len(self._shards), self._seed, number)].tolist())
            counts = np.cumsum(
                [self._by_shard[blocks[0][0]] * 0, *(sum(self._by_shard[s] for s in block) for block in blocks)],
                axis=0,
            )
            ends = (counts[1:] // self.batch).sum(axis=1) * self.batch
            self._epoch = _Epoch(number, blocks, counts, ends)
        return self._epoch
