"""Taking removals back, as long as no publication or erasure has acted on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import (
    UNDONE,
    By,
    Tombstone,
    count_settled,
    create_table,
    find_asked,
    read_removed,
)
from t2i_shards.pipeline.errors import RequestError


@dataclass(frozen=True)
class Undo:
    """undone: keys whose removal was taken back. others: those that were not removed. unknown: matched nothing."""

    undone: tuple[str, ...]
    others: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def undo(dataset: Dataset, by: By, asked: Collection[str], dry_run: bool = False) -> Undo:
    """Take the removal of these rows back; they are named as `remove` has it.

    Raises RequestError, and takes none back, where the removal of one is settled.
    """
    found, unknown = find_asked(dataset, by, asked)
    removed = read_removed(dataset.store)
    others = tuple(sorted(key for key in found if key not in removed))
    return Undo(
        _take_back(dataset, {key: removed[key] for key in found if key in removed}, dry_run), others, unknown
    )


def undo_newest(dataset: Dataset, dry_run: bool = False) -> Undo:
    """Take the newest removal back, of all rows that it named and that are still removed. Raises RequestError."""
    removed = read_removed(dataset.store)
    if not removed:
        raise RequestError(f"{dataset.store.root}: nothing is removed, so there is nothing to undo")
    newest = max(stone.table for stone in removed.values())
    return Undo(_take_back(dataset, {k: stone for k, stone in removed.items() if stone.table == newest}, dry_run))


def _take_back(dataset: Dataset, removed: dict[str, Tombstone], dry_run: bool) -> tuple[str, ...]:
    settled = count_settled(dataset.store)
    if final := sorted(key for key, stone in removed.items() if stone.table <= settled):
        raise RequestError(
            f"{dataset.store.root}: {len(final)} of these samples (the first {final[0]}) were erased, or left out "
            "of a publication, since they were removed, so that cannot be undone; to have a picture again, ingest "
            "it into another dataset"
        )
    undone = tuple(sorted(removed))
    if undone and not dry_run:
        create_table(dataset.store, pa.table([list(undone)], UNDONE))
    return undone
