"""Status: what is done, missing and stale, from the receipts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.shards.store import AT_ONCE


@dataclass(frozen=True)
class ColumnStatus:
    """One column. stale: shards made from other pictures, or by another recipe, than are there now.

    seconds: the time workers spent. digest: of the column's content so far.
    """

    column: str
    planned: int
    done: int
    stale: int
    samples: int
    bytes: int
    seconds: float
    digest: str
    drops: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        return self.planned - self.done


def column_status(dataset: Dataset, column: str, images: ReceiptTable, receipts: ReceiptTable) -> ColumnStatus:
    """The state of one column, given the receipts of images and its own.

    Shards that no plan asks for are not counted; `list_unplanned` names them.
    """
    planned = receipts.within(0, dataset.shards.stop)
    stale = set(planned.find_other_recipe(dataset.recipe_digest(column)))
    if column != IMAGES:
        stale.update(planned.find_other_input(images))
    drops = Counter[str]()
    for _, counts in planned.counts("drops"):
        drops.update(counts)
    return ColumnStatus(
        column=column,
        planned=len(dataset.shards),
        done=len(planned),
        stale=len(stale),
        samples=int(planned.numbers("samples").sum()),
        bytes=int(planned.numbers("bytes").sum()),
        seconds=float(planned.numbers("seconds").sum()),
        digest=planned.digest,
        drops=dict(drops),
    )


def list_unplanned(dataset: Dataset) -> list[str]:
    """A line for each shard of a column that no plan asks for."""
    return [
        f"{column}/{shard_name(n)}: has a receipt, but no plan asks for it; a file of supplements/ may be gone"
        for column in dataset.columns()
        for n in sorted(dataset.done(column).difference(dataset.shards))
    ]


def dataset_status(
    dataset: Dataset, at_once: int = AT_ONCE, damaged: list[str] | None = None
) -> list[ColumnStatus]:
    """The state of every column that was begun, images first. at_once, damaged: as `Dataset.receipts` takes them.

    A shard whose receipt is damaged counts as missing.
    """
    receipts = {column: dataset.receipts(column, at_once, damaged) for column in dataset.columns()}
    return [column_status(dataset, column, receipts[IMAGES], of) for column, of in receipts.items()]
