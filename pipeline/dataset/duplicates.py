"""Duplicates: pictures whose files are the same, or that look the same, marked after ingest in a small table.

The table is named by the digest of the images' receipts, so one made for an earlier state of the dataset is never
taken for the present one. Where the first shards are as one of the tables has them, its marks are kept, and only
the pictures of the others are compared: a picture belongs to an earlier one, so what is added changes no mark.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.dataset.close_pairs import MOST_NEAR
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.fingerprints import Names, read_fingerprints
from t2i_shards.pipeline.dataset.look_alikes import EXACT, NONE_MARKED, Marked, match
from t2i_shards.pipeline.dataset.mark_tables import (
    DUPLICATES,
    FOLDER,
    Kind,
    count_changes,
    duplicates_path,
    find_states,
    find_unneeded,
    read_kinds,
    read_marks,
)
from t2i_shards.pipeline.errors import DamagedShard, RequestError, describe_error
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable, to_numbers
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import encode_table

log = logging.getLogger(__name__)

NEAR = 4
"""Bits of 64 in which the perceptual hashes of two pictures that look the same may differ, where none is given."""
SHARE = 4
"""All pictures are compared again where more than one in so many is new: it then takes no longer."""
RULES = "2"
"""In a table's metadata: by which rules it was made, to be raised when they change."""
REMEDY = "delete it, and the duplicates are marked again"
PART = 10_000
"""Marks of which a table is made at once."""


def mark_duplicates(dataset: Dataset, near: int | None = None) -> pa.Table:
    """The table of the dataset in its present state, made if it is not there. All of images must be done.

    near: bits of 64, 0 for the same file alone; as before when None. Raises as `choose_near`, and DamagedShard.
    """
    near = choose_near(dataset.store, near)
    images = dataset.receipts(IMAGES, done=dataset.done_by_roll_ups(IMAGES))
    path = duplicates_path(images)
    try:
        if (table := read_marks(dataset.store, path)) is not None:
            return table
    except DamagedShard as error:
        raise DamagedShard(f"{error}; {REMEDY}") from None
    kinds = read_kinds(dataset.store)
    table = find_duplicates(dataset, near, _find_before(dataset.store, kinds, images, near))
    dataset.store.create_bytes(path, encode_table(table))
    states = find_states(dataset, images)
    if kinds and all(kind.rules != RULES for kind in kinds.values()):
        _warn_of_changes(count_changes(dataset.store, kinds.keys() & states.keys(), states, table))
    dataset.store.discard_all(find_unneeded(kinds, states))
    return table


def _warn_of_changes(count: int | None) -> None:
    """Say that the present rules mark so many pictures in another way than before."""
    changed = "an unknown number of pictures" if count is None else number_of(count, "picture")
    if count != 0:
        log.warning(
            "the duplicates were marked by an earlier version, and are marked again by newer rules: %s marked in "
            "another way; a publication may have pictures of these groups in another split than before",
            changed,
        )


def choose_near(store: Store, near: int | None) -> int:
    """In how many bits the hashes may differ: as in the tables that are there, else `near`, else NEAR.

    RequestError where another number is asked for than there was, or one that is not allowed; DamagedShard where
    there are tables and none can be read.
    """
    if near is not None and not 0 <= near <= MOST_NEAR:
        raise RequestError(f"--near must be 0 to {MOST_NEAR} bits, not {near}")
    damaged = None
    for name in store.names(FOLDER):
        try:
            table = read_marks(store, f"{FOLDER}/{name}")
            had = NEAR if table is None else _read_near(table, f"{FOLDER}/{name}")
        except DamagedShard as error:
            damaged = damaged or error
            continue
        if near not in (None, had):
            raise RequestError(
                f"{store.root}: its duplicates were marked with --near {had}, not {near}; "
                f"use the same one, or delete {store.root}/{FOLDER} to have them marked again"
            )
        return had
    if damaged:
        raise DamagedShard(f"{damaged}; {REMEDY}")
    return NEAR if near is None else near


def _read_near(table: pa.Table, path: str) -> int:
    """What the table was made with. Those of earlier versions do not say: NEAR."""
    text = (table.schema.metadata or {}).get(b"near", b"%d" % NEAR)
    if not (text.isdigit() and int(text) <= MOST_NEAR):
        raise DamagedShard(f"{path}: its `near` must be 0 to {MOST_NEAR}")
    return int(text)


def load_duplicates(dataset: Dataset, images: Mapping[int, Receipt]) -> pa.Table | None:
    """The table of the dataset in its present state; None when the duplicates were not marked."""
    return read_marks(dataset.store, duplicates_path(images))


def read_duplicates(dataset: Dataset, images: Mapping[int, Receipt]) -> dict[int, set[str]] | None:
    """shard -> the keys that are duplicates of earlier ones; None when they were not marked."""
    table = load_duplicates(dataset, images)
    return None if table is None else {shard: set(of) for shard, of in group_duplicates(table).items()}


def group_duplicates(table: pa.Table) -> dict[int, dict[str, str]]:
    """shard -> key of a duplicate -> the key of the earlier picture that it is a duplicate of."""
    groups: dict[int, dict[str, str]] = defaultdict(dict)
    for shard, key, of in zip(*(table[name].to_pylist() for name in ("shard", "key", "of")), strict=True):
        groups[shard][key] = of
    return dict(groups)


@dataclass(frozen=True)
class _Before:
    """The marks of the first `shards` shards, from an earlier table."""

    shards: int
    marks: pa.Table

    def marked(self, names: Names) -> Marked:
        shards = to_numbers(self.marks["shard"])

        @lru_cache(maxsize=1)
        def number(shard: int) -> dict[str, int]:
            begin, end = np.searchsorted(shards, (shard, shard + 1)).tolist()
            return dict(zip(self.marks["key"][begin:end].to_pylist(), range(begin, end), strict=True))

        def find(index: int) -> int | None:
            at = np.array([index])
            return number(int(names.shard(at)[0])).get(names.key(at)[0])

        return Marked(names.count(self.shards), find)


def _nothing_before() -> _Before:
    """No marks. Not a constant: with its first table pyarrow imports pandas, which takes a second."""
    return _Before(0, DUPLICATES.empty_table())


def _find_before(store: Store, kinds: Mapping[str, Kind], images: ReceiptTable, near: int) -> _Before:
    """The marks of as many first shards as possible, from a table made when those shards were as they are now."""
    before = _nothing_before()
    for path, kind in kinds.items():
        alike = (kind.near, kind.rules) == (str(near), RULES)
        if alike and before.shards < kind.shards and path == duplicates_path(images.within(0, kind.shards)):
            try:
                marks = read_marks(store, path)
                before = before if marks is None else _Before(kind.shards, marks)
            except (OSError, DamagedShard) as error:
                log.warning("its marks are made again: %s: %s", path, describe_error(error)[:200])
    return before


def find_duplicates(dataset: Dataset, near: int = NEAR, before: _Before | None = None) -> pa.Table:
    """Compare the pictures that are not in `before` with each other and with all others, by digests and hashes."""
    with dataset.store.scratch() as scratch:
        prints, names = read_fingerprints(dataset, scratch)
        if before is None or SHARE * (len(prints.hashes) - names.count(before.shards)) > len(prints.hashes):
            before = _nothing_before()
        marked = before.marked(names) if before.shards else NONE_MARKED
        kinds = [("index", "i8"), ("of", "i8"), ("bits", "i1")]
        found = np.fromiter(match(prints, near, scratch, marked), kinds)
        # Some at a time: as Python's texts, all of them would take several times the memory of the table.
        parts = [_tabulate(found[at : at + PART], names, before.marks) for at in range(0, len(found), PART)]
        table = pa.concat_tables([before.marks.cast(DUPLICATES), *parts]).combine_chunks()
        shards = len(dataset.shards)
        return table.replace_schema_metadata({"near": str(near), "shards": str(shards), "rules": RULES})


def _tabulate(found: np.ndarray, names: Names, before: pa.Table) -> pa.Table:
    kinds = np.where(found["bits"] == EXACT, "exact", "near")
    count = len(names.ends)
    marked = found["of"] >= count
    of = np.array(names.key(np.where(marked, found["index"], found["of"])), object)
    of[marked] = before["of"].take(pa.array(found["of"][marked] - count)).to_pylist()
    columns = {
        "shard": names.shard(found["index"]),
        "key": names.key(found["index"]),
        "of": of.tolist(),
        "kind": kinds.tolist(),
        "bits": np.maximum(found["bits"], 0),
    }
    return pa.table(columns, DUPLICATES)
