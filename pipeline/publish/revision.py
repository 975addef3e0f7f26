"""Revisions: samples that were removed after they were published leave their shards, and all others stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from t2i_shards.extractors.records import BadRecord, Count, decode_record
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.outcomes import sample_keys
from t2i_shards.pipeline.dataset.tombstones import count_tombstone_tables, read_tombstones
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.publish.assignment import Choice, Target
from t2i_shards.pipeline.publish.pack import data_path, index_paths, read_receipt, receipt_path
from t2i_shards.pipeline.publish.plan import Plan
from t2i_shards.pipeline.publish.signature import unsign
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.receipt import shard_name, to_json
from t2i_shards.pipeline.shards.store import Store

REVISIONS = "revisions"


@dataclass(frozen=True)
class Revision:
    """What a file of `revisions` holds. stones: the tables of tombstones applied. removed: shard -> keys."""

    revision: Count
    stones: Count
    removed: Mapping[str, list[str]]


@dataclass(frozen=True)
class RemovedSamples:
    """Samples whose places in published shards are to be empty. keys: target -> keys; by_shard: of the dataset.

    revision: the number of the last one that is applied, 0 for none.
    """

    keys: Mapping[Target, Sequence[str]]
    by_shard: Mapping[int, set[str]]
    revision: int

    def of_split(self, split: str) -> int:
        """How many of a split's samples are gone."""
        return sum(len(keys) for target, keys in self.keys.items() if target.split == split)


def read_revisions(to: Store) -> list[Mapping[str, Any]]:
    """What each revision says, the first first. Raises DamagedShard."""
    return [_read_revision(to, f"{REVISIONS}/{name}") for name in to.names(REVISIONS) if name.endswith(".json")]


def _read_revision(to: Store, path: str) -> Mapping[str, Any]:
    try:
        return asdict(decode_record(to.load(path), Revision, closed=True))
    except BadRecord as error:
        raise DamagedShard(tell_damage(f"{to.root}/{path}", str(error))) from None


def find_removals(
    plan: Plan, choice: Choice, last: int, revision: int, applied: Collection[int] = ()
) -> RemovedSamples:
    """The published samples that the tombstones after the choice, up to table `last`, take out.

    applied: the tables up to which each revision has applied them; what it took out is not put back.
    """
    by_shard = read_tombstones(plan.dataset, first=plan.tombstones + 1, last=last, kept=applied)
    keys: dict[Target, list[str]] = {}
    for shard, removed in by_shard.items():
        kept = sample_keys(plan.dataset.store, plan.receipts[IMAGES][shard])
        for index in (kept.index(key) for key in sorted(removed)):
            if (target := choice.target_of(shard, index)) is not None:
                keys.setdefault(target, []).append(kept[index])
    return RemovedSamples({target: sorted(keys[target]) for target in sorted(keys)}, by_shard, revision)


def choose_removals(plan: Plan, choice: Choice, purge: bool) -> RemovedSamples:
    """The samples to leave out; with `purge` a new revision is begun where there are new ones.

    RequestError when samples were removed that are still in this publication and `purge` is not asked for,
    IncompleteError when another publisher begins the same revision.
    """
    revisions = read_revisions(plan.to)
    applied = [int(revision["stones"]) for revision in revisions]
    number = len(revisions) + 1
    removals = find_removals(plan, choice, max([plan.tombstones, *applied]), len(revisions), applied)
    tombstones = count_tombstone_tables(plan.dataset.store)
    newest = find_removals(plan, choice, tombstones, number, applied)
    new = {t: sorted(set(keys) - set(removals.keys.get(t, ()))) for t, keys in newest.keys.items()}
    new = {target: keys for target, keys in new.items() if keys}
    if not new:
        return removals
    count = sum(map(len, new.values()))
    if not purge:
        raise RequestError(
            f"{plan.to.root}: {number_of(count, 'sample')} removed since it was begun (the first "
            f"{next(iter(new.values()))[0]}); publish with --purge to take them out"
        )
    if sum(map(len, newest.keys.values())) == sum(choice.counts().values()):
        raise RequestError(f"{plan.to.root}: every sample of it was removed; delete the publication itself")
    record = {
        "revision": number,
        "stones": tombstones,
        "removed": {data_path(target): keys for target, keys in new.items()},
    }
    if not plan.to.create_bytes(f"{REVISIONS}/{shard_name(number)}.json", to_json(record)):
        raise IncompleteError(f"{plan.to.root}: another publisher has begun revision {number}; run again")
    plan.settle(tombstones)
    return newest


def discard_stale(plan: Plan, removals: RemovedSamples) -> int:
    """Remove the shards that still hold a removed sample, the receipt first. How many there were.

    The files that sign the whole are removed before the first of them.
    """
    stale = [
        target
        for target, keys in removals.keys.items()
        # One without receipt may have lost it in an attempt that died here.
        if (receipt := read_receipt(plan.to, target)) is None or receipt.drops.get("removed", 0) != len(keys)
    ]
    if stale:
        unsign(plan.to)
    for target in stale:
        for path in (receipt_path(target), *index_paths(target), data_path(target)):
            plan.to.discard(path)
    return len(stale)
