"""Losses: the planned rows that became no sample and the samples that a column lacks, by file and reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import OK, read_outcomes, rows_path
from t2i_shards.pipeline.dataset.plan import plan_path
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable


@dataclass(frozen=True, slots=True)
class Loss:
    """A row that a column lacks. location: path or URL of the original, as the plan has it."""

    key: str
    location: str
    reason: str


def read_losses(dataset: Dataset) -> tuple[int, dict[str, Loss]]:
    """(rows that became a sample, key -> loss of the others): each planned row once, by its last try.

    Raises DamagedShard.
    """
    samples, lost = 0, dict[str, Loss]()
    for shard, table in read_outcomes(dataset, ("key", "status")):
        statuses = dict(zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True))
        samples += sum(status == OK for status in statuses.values())
        rows = dataset.plan(shard)
        if [row.key for row in rows] != table["key"].to_pylist():
            raise DamagedShard(f"{rows_path(shard)}: its keys are not those of {plan_path(shard)}")
        for row in rows:
            lost.pop(row.key, None)
            if statuses[row.key] != OK:
                lost[row.key] = Loss(row.key, row.location, statuses[row.key])
    return samples, lost


def read_column_losses(dataset: Dataset, receipts: ReceiptTable) -> Iterator[Loss]:
    """The samples that a column other than images lacks, by its receipts. Raises DamagedShard."""
    assert receipts.column != IMAGES
    for shard, dropped in receipts.within(0, dataset.shards.stop).counts("dropped"):
        locations = {row.key: row.location for row in dataset.plan(shard)}
        for key, reason in dropped.items():
            yield Loss(key, locations.get(key, ""), reason)
