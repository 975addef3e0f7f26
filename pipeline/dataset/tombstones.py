"""Tombstones: samples that were asked to be removed. Streams and publishing skip them from then on.

They are in small tables, numbered and created once: tables add up, and none is ever removed. Taking a removal back
(`undo`) adds one more table, so what an earlier number of tables removed stays known. The shards stay as
they are, as their receipts cover every byte.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.erased_plan import erased_location
from t2i_shards.pipeline.dataset.name_index import find_shards, list_locations, list_paths, list_urls
from t2i_shards.pipeline.dataset.outcomes import read_outcomes, sample_keys
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import decode_table, encode_table
from t2i_shards.pipeline.sources.row import Row

FOLDER = "tombstones"
STONE_NAME = re.compile(r"(\d{6,})\.parquet")
STONE = pa.schema([("shard", pa.int32()), ("key", pa.string())])
"""shard: one that was asked to hold the key; a later one may hold it too, when the row was tried again."""
UNDONE = pa.schema([("undone", pa.string())])
"""Of a table that takes removals back: their keys. Earlier versions refuse it, as they must: they would set no
tombstone when the same key is to be removed again."""
SETTLED_NAME = re.compile(r"(\d{6,})\.settled")
By = Literal["keys", "urls", "sha256", "paths"]
LeftOut = Mapping[int, AbstractSet[str]]
"""shard -> the keys of samples that are not handed out, though they are there."""


@dataclass(frozen=True)
class Tombstone:
    """shard: one that was asked to hold the key. table: the number of the table that has the tombstone."""

    shard: int
    table: int


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


def remove(dataset: Dataset, by: By, asked: Collection[str], dry_run: bool = False) -> Removal:
    """Set a tombstone for every planned row that one of `asked` names: its key, URL or path, or its file's sha256.

    A row is found whether it became a sample or not; by sha256 only where its file was seen. dry_run: find out
    what would be removed, and set none.
    """
    found, unknown = find_asked(dataset, by, asked)
    before = read_removed(dataset.store)
    new = sorted((shard, key) for key, shard in found.items() if key not in before)
    if new and not dry_run:
        shards, keys = zip(*new, strict=True)
        create_table(dataset.store, pa.table([list(shards), list(keys)], STONE))
    removed = tuple(key for _, key in new)
    return Removal(removed, tuple(sorted(found.keys() - set(removed))), unknown)


def find_asked(dataset: Dataset, by: By, asked: Collection[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """(key -> a shard that was asked to hold it, of the rows that are named; what of `asked` names none)"""
    wanted = {_clean(text.strip(), by) for text in asked if text.strip()}
    if not wanted:
        raise RequestError(f"--{by} must name at least one, and the file names none")
    source = dataset.description.source
    places = {text: list_locations(text, source) if by == "paths" else (text,) for text in wanted}
    located = places.items() if by in ("urls", "paths") else ()
    erased = defaultdict[str, set[str]](set)
    for text, at in located:
        for place in at:
            erased[erased_location(place)].add(text)
    shards = find_shards(dataset, {place for at in places.values() for place in at} | erased.keys())
    if by == "sha256":
        found, met = _find_files(dataset, wanted, shards)
    else:
        found, met = _find_rows(dataset, by, wanted, erased, shards)
    return found, tuple(sorted(wanted - met))


def _clean(text: str, by: By) -> str:
    if by == "paths" and "://" not in text:
        return os.path.normpath(text)
    return text.lower() if by == "sha256" else text


def _find_rows(
    dataset: Dataset, by: By, wanted: set[str], erased: Mapping[str, set[str]], shards: Iterable[int]
) -> tuple[dict[str, int], set[str]]:
    """(key -> a shard that was asked to hold it, what of `wanted` was met)

    erased: the location that a row would have now -> what of `wanted` named it.
    """
    found, met = dict[str, int](), set[str]()
    for shard in shards:
        for row in dataset.plan(shard):
            named = wanted.intersection(_names_of(row, by, dataset.description.source))
            if hits := named.union(*(erased.get(place, ()) for place in list_urls(row))):
                found.setdefault(row.key, shard)
                met |= hits
    return found, met


def _names_of(row: Row, by: By, source: Mapping[str, Any]) -> tuple[str, ...]:
    """What may name the row."""
    if by == "keys":
        return (row.key,)
    return list_paths(row, source) if by == "paths" else list_urls(row)


def _find_files(dataset: Dataset, wanted: set[str], shards: Collection[int]) -> tuple[dict[str, int], set[str]]:
    found, met = dict[str, int](), set[str]()
    for shard, table in read_outcomes(dataset, ("key", "sha256"), shards):
        for key, sha256 in zip(table["key"].to_pylist(), table["sha256"].to_pylist(), strict=True):
            if sha256 in wanted:
                found.setdefault(key, shard)
                met.add(sha256)
    return found, met


def create_table(store: Store, table: pa.Table) -> None:
    """Add a table behind those that are there."""
    data = encode_table(table)
    number = count_tombstone_tables(store) + 1
    while not store.create_bytes(stone_path(number), data):
        number += 1  # another removal was first


def read_removed(
    store: Store, first: int = 1, last: int | None = None, kept: Collection[int] = ()
) -> dict[str, Tombstone]:
    """key -> its tombstone, of the tables numbered `first` to `last` (all when None).

    kept: numbers of tables; what was removed by then stays removed, whatever is undone later.
    Raises DamagedShard where one of them is gone: no removal is lifted by a lost file.
    """
    tombstones: dict[str, Tombstone] = {}
    lasting: set[str] = set()
    for number in range(first, (count_tombstone_tables(store) if last is None else last) + 1):
        shards, keys = _read_table(store, number)
        if shards is None:
            for key in set(keys) - lasting:
                tombstones.pop(key, None)
        else:
            for shard, key in zip(shards, keys, strict=True):
                tombstones.setdefault(key, Tombstone(shard, number))
        if number in kept:
            lasting.update(tombstones)
    return tombstones


def _read_table(store: Store, number: int) -> tuple[list[int] | None, list[str]]:
    """(shards, keys) of a table; without shards for one that takes the removal of these keys back."""
    path = stone_path(number)
    try:
        data = store.load(path)
    except FileNotFoundError:
        raise DamagedShard(tell_damage(path, "gone, so the samples it removed are unknown")) from None
    try:
        table = decode_table(data, path, STONE, whole=STONE.names)
    except DamagedShard:
        with suppress(DamagedShard):
            return None, decode_table(data, path, UNDONE, whole=UNDONE.names)["undone"].to_pylist()
        raise
    return table["shard"].to_pylist(), table["key"].to_pylist()


def settle(store: Store, tables: int) -> None:
    """Note that someone has acted on the first so many tables: what they removed is not to be taken back."""
    if tables > count_settled(store):
        store.create_bytes(f"{FOLDER}/{shard_name(tables)}.settled", b"")


def count_settled(store: Store) -> int:
    """How many tables of tombstones are settled."""
    return max(
        (int(match[1]) for name in store.names(FOLDER) if (match := SETTLED_NAME.fullmatch(name))), default=0
    )


def read_tombstones(
    dataset: Dataset, first: int = 1, last: int | None = None, kept: Collection[int] = ()
) -> dict[int, set[str]]:
    """shard -> the keys of its samples that were removed; shards without any are not named.

    A tombstone counts whatever rows.parquet says: where that is damaged, the keys are read from the shard itself.
    first, last, kept: which tables of tombstones count, as `read_removed` has it.
    """
    planned = find_planned(dataset, read_removed(dataset.store, first, last, kept))
    removed = {shard: keys & _samples(dataset.store, shard) for shard, keys in planned.items()}
    return {shard: keys for shard, keys in sorted(removed.items()) if keys}


def find_planned(dataset: Dataset, removed: Mapping[str, Tombstone]) -> dict[int, set[str]]:
    """Shard that is done -> the keys of those that it may have been asked to hold."""
    by_shard: dict[int, set[str]] = defaultdict(set)
    for key, stone in removed.items():
        # A row that failed may be in a supplementary shard as well, and the sample there.
        for number in (stone.shard, *(n for segment in dataset.segments[1:] for n in segment.numbers)):
            by_shard[number].add(key)
    done = dataset.done(IMAGES) if by_shard else set()
    return {shard: keys for shard, keys in by_shard.items() if shard in done}


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
