"""Duplicates: pictures whose files are the same, or that look the same, marked after ingest in a small table.

The table is named by the digest of the images' receipts, so one made for an earlier state of the dataset is never
taken for the present one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.dataset.close_pairs import MOST_NEAR
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.fingerprints import Names, read_fingerprints
from t2i_shards.pipeline.dataset.look_alikes import EXACT, match
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.receipt_table import digest_receipts
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import encode_table, read_table

NEAR = 4
"""Bits of 64 in which the perceptual hashes of two pictures that look the same may differ, where none is given."""
FOLDER = "duplicates"
PART = 10_000
"""Marks of which a table is made at once."""
DUPLICATES = pa.schema(
    [("shard", pa.int32()), ("key", pa.string()), ("of", pa.string()), ("kind", pa.string()), ("bits", pa.int8())]
)
"""One row for each picture that is a duplicate of an earlier one, `of`, which is none itself. kind: "exact" (same
file) or "near" (`bits` of the perceptual hash differ)."""


def duplicates_path(images: Mapping[int, Receipt]) -> str:
    """duplicates/81bc….parquet"""
    return f"{FOLDER}/{digest_receipts(images)}.parquet"


def mark_duplicates(dataset: Dataset, near: int | None = None) -> pa.Table:
    """The table of the dataset in its present state, made if it is not there. All of images must be done.

    near: bits of 64, 0 for the same file alone; as before when None. Raises as `choose_near`.
    """
    near = choose_near(dataset.store, near)
    path = duplicates_path(dataset.receipts(IMAGES))
    if (table := read_marks(dataset.store, path)) is not None:
        return table
    table = find_duplicates(dataset, near)
    dataset.store.create_bytes(path, encode_table(table))
    return table


def choose_near(store: Store, near: int | None) -> int:
    """In how many bits the hashes may differ: as in the tables that are there, else `near`, else NEAR.

    RequestError where another number is asked for than there was, or one that is not allowed.
    """
    if near is not None and not 0 <= near <= MOST_NEAR:
        raise RequestError(f"--near must be 0 to {MOST_NEAR} bits, not {near}")
    for name in store.names(FOLDER):
        table = read_marks(store, f"{FOLDER}/{name}")
        had = NEAR if table is None else _read_near(table, f"{FOLDER}/{name}")
        if near not in (None, had):
            raise RequestError(
                f"{store.root}: its duplicates were marked with --near {had}, not {near}; "
                f"use the same one, or delete {store.root}/{FOLDER} to have them marked again"
            )
        return had
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


def read_marks(store: Store, path: str) -> pa.Table | None:
    """The table at `path`; None when there is none. Raises DamagedShard."""
    try:
        return read_table(store, path, DUPLICATES, whole=DUPLICATES.names)
    except FileNotFoundError:
        return None


def find_duplicates(dataset: Dataset, near: int = NEAR) -> pa.Table:
    """Compare all pictures of the dataset with each other, by their digests and perceptual hashes."""
    with dataset.store.scratch() as scratch:
        prints, names = read_fingerprints(dataset, scratch)
        found = np.fromiter(match(prints, near, scratch), [("index", "i8"), ("of", "i8"), ("bits", "i1")])
        # Some at a time: as Python's texts, all of them would take several times the memory of the table.
        parts = [_tabulate(found[at : at + PART], names) for at in range(0, len(found), PART)]
        table = pa.concat_tables([DUPLICATES.empty_table(), *parts]).combine_chunks()
        return table.replace_schema_metadata({"near": str(near)})


def _tabulate(found: np.ndarray, names: Names) -> pa.Table:
    kinds = np.where(found["bits"] == EXACT, "exact", "near")
    columns = {
        "shard": names.shard(found["index"]),
        "key": names.key(found["index"]),
        "of": names.key(found["of"]),
        "kind": kinds.tolist(),
        "bits": np.maximum(found["bits"], 0),
    }
    return pa.table(columns, DUPLICATES)
