"""Verify: every byte of a dataset against its receipts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from extractors.base import Resources
from pipeline.commit import load_receipt
from pipeline.dataset import IMAGES, Dataset, load_verified, plan_path
from pipeline.errors import DamagedShard
from pipeline.receipt import Receipt, digest_json, shard_name
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
        for column in self.columns:
            try:
                receipt = load_receipt(self.dataset.store, column, shard)
                if receipt is None:
                    errors.append(f"{column}/{shard_name(shard)}: missing")
                    continue
                self._check(receipt, receipts.get(IMAGES))
                receipts[column] = receipt
            except DamagedShard as error:
                errors.append(str(error))
        return Made(receipts, tuple(errors))

    def _check(self, receipt: Receipt, images: Receipt | None) -> None:
        samples = load_verified(self.dataset.store, receipt)
        if receipt.recipe != self.recipes[receipt.column]:
            raise DamagedShard(f"{receipt.column}/{shard_name(receipt.shard)}: its recipe is not its column's")
        if images is not None and receipt.column != IMAGES:
            check_current(receipt, images)
            pictures = load_verified(self.dataset.store, images)
            zip_columns({IMAGES: pictures, receipt.column: samples}, {IMAGES: images, receipt.column: receipt})


def plan_verify(dataset: Dataset) -> Verify:
    """The stage that verifies all columns that were begun."""
    columns = dataset.columns()
    return Verify(dataset, columns, {column: dataset.recipe_digest(column) for column in columns})


def verify_plan(dataset: Dataset) -> list[str]:
    """A line for each plan file that is gone, and one when the plan is not the one in dataset.json."""
    digests, errors = [], []
    for shard in dataset.shards:
        try:
            digests.append(hashlib.sha256(dataset.store.load(plan_path(shard))).hexdigest())
        except FileNotFoundError:
            errors.append(f"{plan_path(shard)}: missing")
    if not errors and digest_json(digests) != dataset.description.plan:
        errors.append("plan: its digest is not the one in dataset.json")
    return errors
