"""What a run has to make: the shards for which one of its columns has no receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.roll_up import RollUp


@dataclass(frozen=True)
class Left:
    """shards: those left, ascending. roll_ups: of each column, those that were there before the run.

    believed: whether the shards of roll-ups were taken as done, so that the names of their receipts, some of which
    may have been deleted, have yet to be looked for.
    """

    shards: Sequence[int]
    roll_ups: Mapping[str, Sequence[RollUp]]
    believed: bool

    @cached_property
    def rolled_up(self) -> Mapping[str, AbstractSet[int]]:
        """The shards in the roll-ups of each column."""
        return {column: {shard for one in of for shard in one.shards} for column, of in self.roll_ups.items()}

    def made_again(self, made: AbstractSet[int]) -> Mapping[str, AbstractSet[int]]:
        """Of the shards that the run made, those in the roll-ups of each column, which may now contradict them."""
        return {column: rolled_up & made for column, rolled_up in self.rolled_up.items()}


def find_left(dataset: Dataset, columns: Sequence[str]) -> Left:
    """What is left by the roll-ups, and where these leave nothing to do, by the names of all receipts."""
    roll_ups = {column: dataset.roll_ups(column) for column in columns}
    shards, believed = dataset.left(columns, roll_ups), dataset.believes_roll_ups and any(roll_ups.values())
    if believed and not shards:
        shards, believed = dataset.left(columns), False
    return Left(shards, roll_ups, believed)
