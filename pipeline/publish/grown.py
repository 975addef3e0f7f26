"""Purging from a dataset that has grown: it works on the shards that the publication was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.publish.config import Publication
from t2i_shards.pipeline.shards.store import Store


def as_claimed(
    dataset: Dataset, asked: Publication, to: Store, claim: Mapping[str, Any], purge: bool
) -> tuple[Dataset, Publication]:
    """Dataset and request without what was added after `claim` was made: shards, and columns that were not named.

    Raises RequestError when shards were added and no purge is asked for: what is new would be missing silently.
    """
    claimed = find_claimed(dataset, claim)
    if claimed.shards != dataset.shards and not purge:
        raise RequestError(
            f"{to.root} was published from the first {len(claimed.shards)} shards of {dataset.store.root}, which "
            f"has {len(dataset.shards)} now; --purge continues with those, another --to publishes all of them"
        )
    if purge and not asked.columns:
        asked = replace(asked, columns=tuple(name for name in _columns(claim) if name != IMAGES))
    return claimed, asked


class EarlierDataset(Dataset):
    """A dataset as it was when only so many segments had been planned."""

    def __init__(self, dataset: Dataset, segments: int) -> None:
        self.store, self.description = dataset.store, dataset.description
        self.segments = dataset.segments[:segments]

    def done(self, column: str) -> set[int]:
        return super().done(column).intersection(self.shards)


def find_claimed(dataset: Dataset, claim: Mapping[str, Any]) -> Dataset:
    """The dataset as it was when the claim was made; as it is now when no state of it has those pictures."""
    if len(dataset.segments) == 1:
        return dataset
    receipts = dataset.receipts(IMAGES)
    for count in range(len(dataset.segments), 0, -1):
        earlier = EarlierDataset(dataset, count)
        had = receipts.within(0, earlier.shards.stop)
        if len(had) == len(earlier.shards) and had.digest == _columns(claim).get(IMAGES):
            return earlier
    return dataset


def _columns(claim: Mapping[str, Any]) -> Mapping[str, Any]:
    """column -> digest of its receipts"""
    columns = claim.get("columns")
    return columns if isinstance(columns, Mapping) else {}
