"""Rolling up: the receipts of each finished thousand of shards become one file, which is read in one request."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.roll_up import (
    LEAST,
    RollUp,
    find_ranges,
    read_receipts,
    read_roll_up,
    write_roll_up,
)
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stages.stage import Stage, StageResult

log = logging.getLogger(__name__)


@dataclass
class RollUpReceipts(Stage):
    """Stage: number n of `ranges`, (column, shards) -> its roll-up. None is made where a receipt is damaged."""

    store: Store
    ranges: Sequence[tuple[str, range]]

    def __call__(self, shard: int) -> StageResult:
        column, shards = self.ranges[shard]
        try:
            receipts = read_receipts(self.store, column, shards)
        except DamagedShard as error:
            log.warning("no roll-up is made of %s/%s: %s", column, shard_name(shards[0]), error)
            return StageResult()
        if len(receipts) == len(shards):
            write_roll_up(self.store, receipts)
        return StageResult()


def plan_roll_up(
    dataset: Dataset,
    columns: Iterable[str],
    made: Mapping[str, Container[int]],
    done: Container[int] | None = None,
) -> RollUpReceipts:
    """The stage for what has no roll-up yet.

    made: by column, the shards that this run made and that older roll-ups may have; none may contradict a receipt.
    done: shards that all of the columns have, where they are known.
    """
    ranges: list[tuple[str, range]] = []
    for column in columns if len(dataset.shards) >= LEAST else ():
        roll_ups = discard_stale(dataset, column, made.get(column, ()))
        there = dataset.done_by_roll_ups(column, roll_ups) if done is None else done
        left = [shard for shard in dataset.shards if shard not in there]
        ranges += ((column, of) for of in find_ranges(dataset.shards, left, roll_ups))
    return RollUpReceipts(dataset.store, ranges)


def discard_stale(dataset: Dataset, column: str, made: Container[int]) -> list[RollUp]:
    """The roll-ups of the column, after those that contradict a receipt of `made` were named and removed."""
    kept = []
    for one in dataset.roll_ups(column):
        again = [shard for shard in one.shards if shard in made]
        receipts = read_receipts(dataset.store, column, again, damaged=[])  # verify names those
        problem = _contradict(dataset.store, one, receipts.receipts()) if again else None
        if problem is None:
            kept.append(one)
        else:
            log.warning("a roll-up is made again: %s", problem)
            dataset.store.discard(one.path)
    return kept


def _contradict(store: Store, roll_up: RollUp, receipts: Iterable[Receipt]) -> str | None:
    """What is wrong with a roll-up; None where it has these very receipts."""
    try:
        table = read_roll_up(store, roll_up)
    except DamagedShard as error:
        return str(error)
    for receipt in receipts:
        if table[receipt.shard] != receipt:
            return f"{roll_up.path}: has another receipt of {roll_up.column}/{shard_name(receipt.shard)}"
    return None


def verify_roll_ups(dataset: Dataset, made: Mapping[int, StageResult]) -> list[str]:
    """A line for each roll-up that is damaged or contradicts a receipt. made: receipts that are known already."""
    return [
        f"{problem}; delete it, and run extract or ingest again"
        for column in dataset.columns()
        for one in dataset.roll_ups(column)
        if (problem := _verify(dataset.store, one, made)) is not None
    ]


def _verify(store: Store, roll_up: RollUp, made: Mapping[int, StageResult]) -> str | None:
    receipts = []
    for shard in roll_up.shards:
        known = made.get(shard, StageResult()).receipts.get(roll_up.column)
        try:
            receipt = known or load_receipt(store, roll_up.column, shard)
        except DamagedShard:
            continue  # named by itself
        if receipt is None:
            return f"{roll_up.path}: {roll_up.column}/{shard_name(shard)} has no receipt"
        receipts.append(receipt)
    return _contradict(store, roll_up, receipts)
