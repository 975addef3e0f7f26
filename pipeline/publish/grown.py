"""Purging: it works on the shards that the publication was made from, with the options that it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from t2i_shards.extractors.records import BadRecord, convert_record
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.publish.config import Publication
from t2i_shards.pipeline.shards.store import Store

_DEFAULTS = Publication()
_OPTIONS = frozenset(field.name for field in fields(Publication))


def as_claimed(
    dataset: Dataset, asked: Publication, to: Store, claim: Mapping[str, Any], purge: bool
) -> tuple[Dataset, Publication]:
    """Dataset and request without what was added after `claim` was made: shards, and columns that were not named.

    A purge takes the options that are not given from the claim.
    Raises RequestError when shards were added and no purge is asked for: what is new would be missing silently.
    """
    claimed = find_claimed(dataset, claim)
    if claimed.shards != dataset.shards and not purge:
        raise RequestError(
            f"{to.root} was published from the first {len(claimed.shards)} shards of {dataset.store.root}, which "
            f"has {len(dataset.shards)} now; --purge continues with those, another --to publishes all of them"
        )
    return claimed, take_options(asked, claim, f"{to.root}/publish.json") if purge else asked


def take_options(asked: Publication, claim: Mapping[str, Any], where: str) -> Publication:
    """The request with the claim's options in place of those that are at their defaults.

    where: the claim's file. Raises DamagedShard for a claim whose options are none.
    """
    splits = claim.get("splits", ())
    pairs = splits.items() if isinstance(splits, Mapping) else splits
    try:
        told = {
            **{name: value for name, value in claim.items() if name in _OPTIONS},
            "columns": [name for name in _columns(claim) if name != IMAGES],
            "with_images": claim.get("pictures", False),
            "splits": [f"{name}={share}" for name, share in pairs] or list(_DEFAULTS.splits),
        }
        had = convert_record(told, Publication)
    except (BadRecord, RequestError, TypeError, ValueError) as error:
        raise DamagedShard(f"{where}: {error}") from None
    unsaid = [name for name in _OPTIONS if getattr(asked, name) == getattr(_DEFAULTS, name)]
    return replace(asked, **{name: getattr(had, name) for name in unsaid})


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
