"""Verify: every byte of a dataset against its receipts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from extractors.base import Resources
from pipeline.commit import load_receipt
from pipeline.dataset import IMAGES, RESERVED, Dataset, load_verified
from pipeline.errors import DamagedShard
from pipeline.plan import verify_segment
from pipeline.receipt import Receipt, shard_name
from pipeline.rows import read_rows
from pipeline.sample import Sample
from pipeline.stage import Made
from pipeline.stream import check_current, zip_columns


@dataclass
class Verify:
    """Stage: reads a shard of every column; what is damaged or missing comes back as errors, one line each."""

    dataset: Dataset
    columns: Sequence[str]
    recipes: dict[str, str]
    resources: Resources = field(default_factory=Resources)

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, shard: int) -> Made:
        receipts: dict[str, Receipt] = {}
        errors: list[str] = []
        pictures: list[Sample] = []
        for column in self.columns:
            try:
                receipt = load_receipt(self.dataset.store, column, shard)
                if receipt is None:
                    errors.append(f"{column}/{shard_name(shard)}: missing")
                    continue
                samples = load_verified(self.dataset.store, receipt)
                if receipt.recipe != self.recipes[column]:
                    raise DamagedShard(f"{column}/{shard_name(shard)}: its recipe is not its column's")
                if column == IMAGES:
                    read_rows(self.dataset.store, receipt)
                    # Only the keys are needed from here on; the members would keep the whole shard in memory.
                    pictures = [Sample(sample.key, {}) for sample in samples]
                elif images := receipts.get(IMAGES):
                    check_current(receipt, images)
                    zip_columns({IMAGES: pictures, column: samples}, {IMAGES: images, column: receipt})
                receipts[column] = receipt
            except DamagedShard as error:
                errors.append(str(error))
        return Made(receipts, tuple(errors))


def plan_verify(dataset: Dataset) -> Verify:
    """The stage that verifies all columns that were begun."""
    columns = dataset.columns()
    return Verify(dataset, columns, {column: dataset.recipe_digest(column) for column in columns})


def count_older(made: Iterable[Made]) -> int:
    """How many images receipts were written before they named the sha256 of rows.parquet."""
    return sum(IMAGES in of.receipts and of.receipts[IMAGES].rows is None for of in made)


def verify_plan(dataset: Dataset) -> list[str]:
    """A line for each plan file that is gone, and one for each segment whose plan is not the one written down."""
    return [line for segment in dataset.segments for line in verify_segment(dataset.store, segment)]


def verify_columns(dataset: Dataset) -> list[str]:
    """A line for each folder that has receipts but no recipe: nobody reads such a column."""
    known = dataset.columns()
    strangers = [name for name in dataset.store.names("") if name not in (*known, *RESERVED)]
    return [f"{name}: has receipts, but {name}/column.json is gone" for name in strangers if dataset.done(name)]
