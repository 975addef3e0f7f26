"""Continuing a publication: with the shards and options that it was begun with, in its own order of the splits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from t2i_shards.extractors.records import BadRecord, convert_record
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import sample_keys
from t2i_shards.pipeline.dataset.tombstones import read_tombstones
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.publish.assignment import Choice, Target
from t2i_shards.pipeline.publish.config import Publication
from t2i_shards.pipeline.publish.index import read_dali_index
from t2i_shards.pipeline.publish.pack import RECEIPTS, index_paths
from t2i_shards.pipeline.publish.plan import Plan
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.store import AT_ONCE, Store

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
            f"{to.root} was published from the first {number_of(len(claimed.shards), 'shard')} of "
            f"{dataset.store.root}, which has {len(dataset.shards)} now; --purge continues with those, "
            f"another --to publishes all of them"
        )
    return claimed, take_options(asked, claim, f"{to.root}/publish.json") if purge else asked


def take_options(asked: Publication, claim: Mapping[str, Any], where: str) -> Publication:
    """The request with the claim's options in place of those that are at their defaults.

    where: the claim's file. Raises DamagedShard for a claim whose options are none.
    """
    splits = claim.get("splits", ())
    pairs = splits.items() if isinstance(splits, Mapping) else splits
    licences = claim.get("licenses")
    try:
        options = {
            **{name: value for name, value in claim.items() if name in _OPTIONS},
            "columns": [name for name in _columns(claim) if name != IMAGES],
            "with_images": claim.get("pictures", False),
            "licenses": [*map(str, licences)] if isinstance(licences, list) else licences or [],
            "splits": [f"{name}={share}" for name, share in pairs] or list(_DEFAULTS.splits),
        }
        had = convert_record(options, Publication)
    except (BadRecord, RequestError, TypeError, ValueError) as error:
        raise DamagedShard(tell_damage(where, str(error))) from None
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


def check_order(plan: Plan, choice: Choice) -> None:
    """Compare the keys of every published shard with the choice, where the claim does not tell the splits' order.

    Raises RequestError when they differ: going on would put samples into two splits.
    """
    if not isinstance(plan.claim["splits"], Mapping) or len(plan.shares) == 1:
        return
    tombstones = read_tombstones(plan.dataset, first=plan.tombstones + 1)
    removed = {key for keys in tombstones.values() for key in keys}

    def agrees(target: Target) -> bool:
        found = _published(plan.to, target)
        return found is None or _without(found, removed) == _without(_chosen(plan, choice, target), removed)

    known = {f"{target.name}.json" for target in choice.targets}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        same = all(threads.map(agrees, choice.targets))
    if not same or not known.issuperset(plan.to.names(RECEIPTS)):
        raise RequestError(
            f"{plan.to.root} was published with --splits in another order than {' '.join(plan.asked.splits)}; "
            "give them in the order of its first run, or use another --to"
        )


def _published(to: Store, target: Target) -> list[str] | None:
    """The keys of a shard that is there; None when it is not."""
    path, _ = index_paths(target)
    with suppress(FileNotFoundError):
        return [entry.key for entry in read_dali_index(to.load(path), path)]
    return None


def _chosen(plan: Plan, choice: Choice, target: Target) -> list[str]:
    """The keys that the choice puts into a shard."""
    keys: list[str] = []
    for part in choice.parts(target):
        held = sample_keys(plan.dataset.store, plan.receipts[IMAGES][part.shard])
        keys += [held[index] for index in part.indices]
    return keys


def _without(keys: Iterable[str], removed: Collection[str]) -> list[str]:
    return [key for key in keys if key not in removed]
