"""Duplicates: pictures whose files are the same, or that look the same, marked after ingest in a small table.

The table is a function of the images' receipts and is named by their digest, so one made for an earlier
state of the dataset is never taken for the present one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import OK, read_outcomes, rows_path
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.receipt_table import digest_receipts
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import encode_table, read_table

NEAR = 4
"""Bits of 64 in which the perceptual hashes of two pictures that look the same may differ."""
BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
"""(first bit, bits). Of five bands at least one is equal where at most four bits differ."""
PHASH = re.compile("[0-9a-f]{16}")
DUPLICATES = pa.schema(
    [("shard", pa.int32()), ("key", pa.string()), ("of", pa.string()), ("kind", pa.string()), ("bits", pa.int8())]
)
"""One row for each picture that is a duplicate of an earlier one, `of`, which is none itself. kind: "exact" (same
file) or "near" (`bits` of the perceptual hash differ)."""


def duplicates_path(images: Mapping[int, Receipt]) -> str:
    """duplicates/81bc….parquet"""
    return f"duplicates/{digest_receipts(images)}.parquet"


def mark_duplicates(dataset: Dataset) -> pa.Table:
    """The table of the dataset in its present state, made if it is not there. All of images must be done."""
    path = duplicates_path(dataset.receipts(IMAGES))
    if (table := read_marks(dataset.store, path)) is not None:
        return table
    table = find_duplicates(dataset)
    dataset.store.create_bytes(path, encode_table(table))
    return table


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


def find_duplicates(dataset: Dataset) -> pa.Table:
    """Compare all pictures of the dataset with each other, by their digests and perceptual hashes."""
    shards, keys, files, hashes = list[int](), list[str](), list[str | None](), list[int]()
    for shard, table in read_outcomes(dataset, ("key", "status", "sha256", "phash")):
        for row in table.to_pylist():
            if row["status"] == OK:
                shards.append(shard)
                keys.append(row["key"])
                files.append(row["sha256"])
                if not PHASH.fullmatch(row["phash"] or ""):
                    raise DamagedShard(f"{rows_path(shard)}: {row['key']} must have a phash of 16 hex digits")
                hashes.append(int(row["phash"], 16))
    found = list(match(files, np.array(hashes, np.uint64)))
    return pa.table(
        {
            "shard": [shards[i] for i, _, _, _ in found],
            "key": [keys[i] for i, _, _, _ in found],
            "of": [keys[j] for _, j, _, _ in found],
            "kind": [kind for _, _, kind, _ in found],
            "bits": [bits for _, _, _, bits in found],
        },
        DUPLICATES,
    )


def match(files: Sequence[str | None], hashes: np.ndarray) -> Iterator[tuple[int, int, str, int]]:
    """(index, index of the earlier picture it is a duplicate of, kind, bits that differ), indices ascending.

    files: sha256 or None; hashes: uint64 (N,). Each picture is held against the earlier ones that are no
    duplicates themselves, and belongs to the nearest of them, or to the earliest of the nearest.
    """
    first_file: dict[str, int] = {}
    first_hash: dict[int, int] = {}
    close = near_hashes(np.unique(hashes))
    for index, (file, value) in enumerate(zip(files, hashes.tolist(), strict=True)):
        if file is not None and file in first_file:
            yield index, first_file[file], "exact", 0
            continue
        near = [(bits, first_hash[other]) for other, bits in close.get(value, ()) if other in first_hash]
        if value in first_hash:
            near.append((0, first_hash[value]))
        if near:
            bits, earlier = min(near)
            yield index, earlier, "near", bits
            if file is not None:
                first_file[file] = earlier
            continue
        first_hash[value] = index
        if file is not None:
            first_file[file] = index


def near_hashes(values: np.ndarray) -> dict[int, list[tuple[int, int]]]:
    """value -> [(another value, bits that differ)] for all pairs of at most NEAR bits. values: uint64, unique."""
    pairs: dict[int, dict[int, int]] = defaultdict(dict)
    for first, bits in BANDS:
        band = (values >> np.uint64(first)) & np.uint64((1 << bits) - 1)
        order = np.argsort(band, kind="stable")
        band, group = band[order], values[order]
        # Each against its neighbour, then against the one after it, for as long as they share the band.
        one, step = np.arange(len(group)), 0
        while len(one):
            step += 1
            one = one[one + step < len(group)]
            one = one[band[one] == band[one + step]]
            differ = np.bitwise_count(group[one] ^ group[one + step])
            for i in np.flatnonzero(differ <= NEAR).tolist():
                left, right = int(group[one[i]]), int(group[one[i] + step])
                pairs[left][right] = pairs[right][left] = int(differ[i])
    return {value: sorted(near.items()) for value, near in pairs.items()}
