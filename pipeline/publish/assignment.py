"""The choice: which samples go into which published shard; a function of the survey, in the dataset's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from t2i_shards.pipeline.publish.survey import LEFT
from t2i_shards.pipeline.shards.receipt import shard_name


@dataclass(frozen=True, order=True)
class Target:
    """A published shard: number `number` of `split`. dali: the folder of its index for DALI."""

    split: str
    number: int
    dali: str

    @property
    def name(self) -> str:
        """train-000012"""
        return f"{self.split}-{shard_name(self.number)}"


@dataclass(frozen=True)
class ShardSlice:
    """Samples of one shard of the dataset: their indices among those of images, ascending."""

    shard: int
    indices: np.ndarray


class Choice:
    """assignments: shard -> uint8 by sample of images, as `Survey` gives them: one byte for each sample.

    splits: their names by number. shard_size: samples per published shard. dali: the folder of DALI's indexes.
    """

    def __init__(
        self, assignments: Mapping[int, bytes], splits: Sequence[str], shard_size: int, dali: str
    ) -> None:
        self._assignments = {shard: np.frombuffer(assignments[shard], np.uint8) for shard in sorted(assignments)}
        self._splits, self._size, self._dali = tuple(splits), shard_size, dali
        self._shards = np.array(sorted(assignments), np.int64)
        # Of each split: how many of its samples lie before each shard of the dataset, and in all.
        self._before = [
            np.cumsum([0, *(int((of == split).sum()) for of in self._assignments.values())])
            for split in range(len(self._splits))
        ]
        self.targets = [
            Target(name, number, dali)
            for split, name in enumerate(self._splits)
            for number in range(-(-int(self._before[split][-1]) // shard_size))
        ]

    def counts(self) -> dict[str, int]:
        """split -> samples."""
        return {name: int(self._before[split][-1]) for split, name in enumerate(self._splits)}

    def left_out(self, reasons: Sequence[str]) -> dict[str, int]:
        """reason -> samples that are left out for it."""
        found = Counter[str]()
        for assignment in self._assignments.values():
            for assigned, count in zip(
                *np.unique(assignment[assignment >= LEFT], return_counts=True), strict=True
            ):
                found[reasons[int(assigned) - LEFT]] += int(count)
        return dict(sorted(found.items()))

    def parts(self, target: Target) -> Iterator[ShardSlice]:
        """The samples of a published shard, in the dataset's order."""
        split = self._splits.index(target.split)
        before = self._before[split]
        first = target.number * self._size
        last = min(first + self._size, int(before[-1]))
        at = int(np.searchsorted(before, first, side="right")) - 1
        while first < last:
            shard = int(self._shards[at])
            indices = np.flatnonzero(self._assignments[shard] == split)
            start = first - int(before[at])
            taken = indices[start : start + last - first]
            if len(taken):
                yield ShardSlice(shard, taken)
            first += len(taken)
            at += 1

    def target_of(self, shard: int, index: int) -> Target | None:
        """Where a sample of the dataset went; None when it was left out."""
        split = int(self._assignments[shard][index])
        if split >= LEFT:
            return None
        at = int(np.searchsorted(self._shards, shard))
        place = int(self._before[split][at]) + int((self._assignments[shard][:index] == split).sum())
        return Target(self._splits[split], place // self._size, self._dali)
