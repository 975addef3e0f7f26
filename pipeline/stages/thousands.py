"""Roll-ups while a run is under way: its own workers make them as soon as a thousand shards are whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.left import Left
from t2i_shards.pipeline.dataset.roll_up import THOUSAND
from t2i_shards.pipeline.stages.roll_up import RollUpReceipts
from t2i_shards.pipeline.stages.stage import Careful, Stage, StageResult


@dataclass
class WithRollUps(Stage):
    """Stage: a shard of `stage`, or by the number ~n, which is below zero, roll-up n of `roll_ups`."""

    stage: Stage
    roll_ups: RollUpReceipts

    @property
    def resources(self) -> Resources:
        return self.stage.resources

    def setup(self) -> None:
        self.stage.setup()

    def __call__(self, shard: int) -> StageResult:
        return self.roll_ups(~shard) if shard < 0 else self.stage(shard)

    def run_carefully(self, shard: int) -> StageResult:
        return self.stage.run_carefully(shard) if isinstance(self.stage, Careful) else self.stage(shard)


class Thousands:
    """Which roll-ups the shards of a run allow: called with each that was made, gives their numbers.

    Those of a thousand that has older ones, which may be stale, and of the last, which may be short, are made when
    the run ends.
    """

    def __init__(self, dataset: Dataset, left: Left) -> None:
        self._missing = Counter(shard // THOUSAND for shard in left.shards)
        self._numbers = defaultdict[int, list[int]](list)
        ranges: list[tuple[str, range]] = []
        for thousand in sorted(self._missing):
            shards = range(thousand * THOUSAND, (thousand + 1) * THOUSAND)
            for column, rolled_up in left.rolled_up.items():
                if shards.stop <= dataset.shards.stop and rolled_up.isdisjoint(shards):
                    self._numbers[thousand].append(~len(ranges))
                    ranges.append((column, shards))
        self.stage = RollUpReceipts(dataset.store, ranges)

    def __call__(self, shard: int) -> list[int]:
        self._missing[shard // THOUSAND] -= 1
        return [] if self._missing[shard // THOUSAND] else self._numbers[shard // THOUSAND]
