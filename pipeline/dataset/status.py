"""Status: what is done, missing and stale, from the receipts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.shards.receipt import Receipt, digest_receipts, shard_name
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


def column_status(
    dataset: Dataset, column: str, images: Mapping[int, Receipt], receipts: Mapping[int, Receipt]
) -> ColumnStatus:
    """The state of one column, given the receipts of images and its own.

    Shards that no plan asks for are not counted; `list_unplanned` names them.
    """
    receipts = {shard: receipt for shard, receipt in receipts.items() if shard in dataset.shards}
    recipe = dataset.recipe_digest(column)
    stale = sum(
        r.recipe != recipe or (column != IMAGES and (s not in images or r.input != images[s].sha256))
        for s, r in receipts.items()
    )
    drops = Counter[str]()
    for receipt in receipts.values():
        drops.update(receipt.drops)
    return ColumnStatus(
        column=column,
        planned=len(dataset.shards),
        done=len(receipts),
        stale=stale,
        samples=sum(r.samples for r in receipts.values()),
        bytes=sum(r.bytes for r in receipts.values()),
        seconds=sum(r.seconds for r in receipts.values()),
        digest=digest_receipts(receipts),
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
