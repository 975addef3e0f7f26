"""Tombstones: samples that were asked to be removed. Streams and publishing skip them from then on.

They are in small tables, numbered and created once: tables add up, and none is ever removed. The shards stay as
they are, as their receipts cover every byte.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import read_outcomes, sample_keys
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import encode_table, read_table
from t2i_shards.pipeline.sources.row import Row

FOLDER = "tombstones"
STONE_NAME = re.compile(r"(\d{6,})\.parquet")
STONE = pa.schema([("shard", pa.int32()), ("key", pa.string())])
"""shard: one that was asked to hold the key; a later one may hold it too, when the row was tried again."""
By = Literal["keys", "urls", "sha256"]
LeftOut = Mapping[int, AbstractSet[str]]
"""shard -> the keys of samples that are not handed out, though they are there."""
URLS = ("url", "coco_url", "flickr_url")
"""The sources' own columns that hold a picture's address, in addition to its location."""


@dataclass(frozen=True)
class Removal:
    """removed: keys with a new tombstone; before: those that had one. unknown: requests that match nothing."""

    removed: tuple[str, ...]
    before: tuple[str, ...]
    unknown: tuple[str, ...]


def stone_path(number: int) -> str:
    """tombstones/000001.parquet"""
    return f"{FOLDER}/{shard_name(number)}.parquet"


def count_tombstone_tables(store: Store) -> int:
    """How many tables of tombstones there are; they are numbered from 1, and the last number counts."""
    return max((int(match[1]) for name in store.names(FOLDER) if (match := STONE_NAME.fullmatch(name))), default=0)


def remove(dataset: Dataset, by: By, asked: Collection[str]) -> Removal:
    """Set a tombstone for every planned row that one of `asked` names: its key, its URL, or its file's sha256.

    A row is found whether it became a sample or not; by sha256 only where its file was seen.
    """
    wanted = {text.strip().lower() if by == "sha256" else text.strip() for text in asked} - {""}
    if not wanted:
        raise RequestError(f"--{by} must name at least one, and the file names none")
    found, met = _find_files(dataset, wanted) if by == "sha256" else _find_rows(dataset, by, wanted)
    standing = read_removed(dataset.store)
    new = sorted((shard, key) for key, shard in found.items() if key not in standing)
    if new:
        _set(dataset.store, new)
    removed = tuple(key for _, key in new)
    return Removal(removed, tuple(sorted(found.keys() - set(removed))), tuple(sorted(wanted - met)))


def _find_rows(dataset: Dataset, by: By, wanted: set[str]) -> tuple[dict[str, int], set[str]]:
    """(key -> a shard that was asked to hold it, what of `wanted` was met)"""
    found, met = dict[str, int](), set[str]()
    for shard in dataset.shards:
        for row in dataset.plan(shard):
            if hits := wanted.intersection(_names_of(row, by)):
                found.setdefault(row.key, shard)
                met |= hits
    return found, met


def _names_of(row: Row, by: By) -> tuple[str, ...]:
    """What may name the row."""
    if by == "keys":
        return (row.key,)
    return (row.location, *(str(row.extra.get(name) or "") for name in URLS))


def _find_files(dataset: Dataset, wanted: set[str]) -> tuple[dict[str, int], set[str]]:
    found, met = dict[str, int](), set[str]()
    for shard, table in read_outcomes(dataset, ("key", "sha256")):
        for key, sha256 in zip(table["key"].to_pylist(), table["sha256"].to_pylist(), strict=True):
            if sha256 in wanted:
                found.setdefault(key, shard)
                met.add(sha256)
    return found, met


def _set(store: Store, tombstones: list[tuple[int, str]]) -> None:
    columns = list(zip(*tombstones, strict=True))
    data = encode_table(pa.table([list(columns[0]), list(columns[1])], STONE))
    number = count_tombstone_tables(store) + 1
    while not store.create_bytes(stone_path(number), data):
        number += 1  # another removal was first


def read_removed(store: Store, first: int = 1, last: int | None = None) -> Mapping[str, int]:
    """key -> a shard that was asked to hold it, of the tables numbered `first` to `last` (all when None).

    Raises DamagedShard where one of them is gone: no removal is lifted by a lost file.
    """
    tombstones: dict[str, int] = {}
    for number in range(first, (count_tombstone_tables(store) if last is None else last) + 1):
        try:
            table = read_table(store, stone_path(number), STONE, whole=STONE.names)
        except FileNotFoundError:
            raise DamagedShard(f"{stone_path(number)}: gone, so the samples it removed are unknown") from None
        for shard, key in zip(table["shard"].to_pylist(), table["key"].to_pylist(), strict=True):
            tombstones.setdefault(key, shard)
    return tombstones


def read_tombstones(dataset: Dataset, first: int = 1, last: int | None = None) -> dict[int, set[str]]:
    """shard -> the keys of its samples that were removed; shards without any are not named.

    A tombstone counts whatever rows.parquet says: where that is damaged, the keys are read from the shard itself.
    first, last: which tables of tombstones count; all of them when not given.
    """
    by_shard: dict[int, set[str]] = defaultdict(set)
    for key, shard in read_removed(dataset.store, first, last).items():
        # A row that failed may be in a supplementary shard as well, and the sample there.
        for number in (shard, *(n for segment in dataset.segments[1:] for n in segment.numbers)):
            by_shard[number].add(key)
    done = dataset.done(IMAGES) if by_shard else set()
    removed = {shard: keys & _samples(dataset.store, shard) for shard, keys in by_shard.items() if shard in done}
    return {shard: keys for shard, keys in sorted(removed.items()) if keys}


def add_tombstones(dataset: Dataset, left_out: LeftOut | None, last: int | None = None) -> LeftOut | None:
    """`left_out` and the samples that tables 1 to `last` remove (all when None); None when nothing is left out."""
    removed = read_tombstones(dataset, last=last)
    if not removed:
        return left_out
    before = left_out or {}
    shards = sorted({*before, *removed})
    return {shard: before.get(shard, frozenset()) | removed.get(shard, frozenset()) for shard in shards}


def _samples(store: Store, shard: int) -> set[str]:
    receipt = load_receipt(store, IMAGES, shard)
    assert receipt is not None, "the shard is done"
    return set(sample_keys(store, receipt))
