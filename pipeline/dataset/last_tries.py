"""Which planned rows gave no sample at their last try: rows that failed may be tried again in later shards.

The keys of a segment ascend, so the later tries of a shard's rows are found by bisection, and nothing is kept of
the other shards.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import cache, lru_cache

import pyarrow.compute as pc

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import OK, read_rows
from t2i_shards.pipeline.dataset.plan import Segment, plan_path, read_plan_table
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable

CACHED = 8
"""Shards of which what was read is kept: those behind each other in a segment have their retries together."""


def list_retries(dataset: Dataset) -> list[Segment]:
    """The segments of rows that were tried before."""
    return [segment for segment in dataset.segments[1:] if not segment.new]


def list_lossy(dataset: Dataset, images: ReceiptTable) -> list[int]:
    """The shards in which rows were tried for the first time, and some gave no sample. images: the receipts."""
    again = [segment.numbers for segment in list_retries(dataset)]
    shards = (shard for shard, _ in images.within(0, dataset.shards.stop).counts("drops"))
    return [shard for shard in shards if not any(shard in numbers for numbers in again)]


class LastTries:
    """images: the receipts of the shards that are asked for, each of `list_lossy`."""

    def __init__(self, dataset: Dataset, images: Mapping[int, Receipt]) -> None:
        self._store, self._images, self._retries = dataset.store, images, list_retries(dataset)
        self._again, self._bounds = lru_cache(CACHED)(self._read_again), cache(self._read_bounds)

    def find_failed(self, shard: int) -> dict[str, tuple[int, str]]:
        """key -> (the shard where it was last tried, why it gave no sample), of the rows that gave none.

        Raises DamagedShard.
        """
        table = read_rows(self._store, self._images[shard])
        lost = table.filter(pc.not_equal(table["status"], OK))
        pairs = zip(lost["key"].to_pylist(), lost["status"].to_pylist(), strict=True)
        failed = {key: (shard, reason) for key, reason in pairs}
        for segment in self._retries:
            if not failed:
                break
            least, most = min(failed), max(failed)
            first = bisect_left(segment.numbers, least, key=lambda number: self._bounds(number)[1])
            for number in segment.numbers[first:]:
                if self._bounds(number)[0] > most:
                    break
                again = self._again(number)
                for key in failed.keys() & again.keys():
                    failed[key] = number, again[key]
            failed = {key: last for key, last in failed.items() if last[1] != OK}
        return failed

    def _read_again(self, shard: int) -> dict[str, str]:
        """key -> status; none where the shard is not done."""
        receipt = load_receipt(self._store, IMAGES, shard)
        table = read_rows(self._store, receipt) if receipt else None
        return dict(zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)) if table else {}

    def _read_bounds(self, shard: int) -> tuple[str, str]:
        """The first key of a shard and the last."""
        keys = read_plan_table(self._store, shard)["key"]
        if not len(keys):
            raise DamagedShard(tell_damage(plan_path(shard), "has no rows"))
        return keys[0].as_py(), keys[-1].as_py()
