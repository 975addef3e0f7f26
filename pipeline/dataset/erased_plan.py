"""Erasing rows of a plan: of what was removed, nothing but the keys and a hash of each address is left.

The plan file is replaced. A record next to it names the digest that the file was planned with and those that it
may have since; it is written first, so dataset.json, supplements and kept digests stay true at every moment. The
hashes keep the picture from being taken for a new one, and let it be found by each of its addresses.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.receipt import to_json
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import encode_table
from t2i_shards.pipeline.sources.row import URLS, decode_plan_table

ERASED = "erased:"
"""What stands before the sha256 of a location that was erased, in hexadecimal."""
_ERASED = re.compile(ERASED + r"[0-9a-f]{64}")
RECORD = ".erased.json"


def erased_location(location: str) -> str:
    """erased:81bc01…, what the plan has in the place of a location."""
    return ERASED + hashlib.sha256(location.encode()).hexdigest()


def is_erased(location: str) -> bool:
    """Whether this is the location of an erased row."""
    return _ERASED.fullmatch(location) is not None


@dataclass(frozen=True)
class ErasedPlan:
    """sha256 of a plan file: `first` as it was planned, `since` those that it may have, the newest last."""

    first: str
    since: tuple[str, ...] = ()


def record_path(plan: str) -> str:
    """plan/000012.erased.json"""
    return plan.removesuffix(".parquet") + RECORD


def read_record(store: Store, plan: str) -> ErasedPlan | None:
    """The record of a plan file; None where nothing of it was erased. Raises DamagedShard."""
    path = record_path(plan)
    try:
        return decode_record(store.load(path), ErasedPlan, closed=True)
    except FileNotFoundError:
        return None
    except BadRecord as error:
        raise DamagedShard(tell_damage(path, str(error))) from None


def first_digest(store: Store, plan: str, sha256: str) -> str:
    """The digest with which the plan file that now has this one was planned."""
    try:
        record = read_record(store, plan)
    except DamagedShard:
        return sha256  # `verify` names the record
    return record.first if record and sha256 in record.since else sha256


def erase_rows(store: Store, plan: str, keys: Collection[str], is_planned: Callable[[], bool]) -> None:
    """Erase these rows of a plan file; those that it does not have, or that are erased, change nothing.

    is_planned: whether all plan files are what was planned. It is asked where the record does not know this file:
    the record was then begun with a damaged one, which was restored since, and is begun again.

    Raises DamagedShard, also for a file that is not the one that was planned or erased before.
    """
    try:
        data = store.load(plan)
    except FileNotFoundError:
        raise DamagedShard(tell_damage(plan, "missing")) from None
    table = decode_plan_table(data, plan)
    pairs = zip(table["key"].to_pylist(), table["location"].to_pylist(), strict=True)
    hit = [key in keys and not is_erased(location) for key, location in pairs]
    if not any(hit):
        return
    now = hashlib.sha256(data).hexdigest()
    record = read_record(store, plan) or ErasedPlan(now)
    if now not in (record.first, *record.since):
        record = ErasedPlan(now)
        if not is_planned():
            raise DamagedShard(tell_damage(plan, f"its digest is none of those in {record_path(plan)}"))
    new = encode_table(_blank(table, hit))
    # An attempt that died may have named it.
    since = dict.fromkeys((*record.since, hashlib.sha256(new).hexdigest()))
    record = replace(record, since=tuple(since))
    store.replace_bytes(record_path(plan), to_json(asdict(record)))
    store.replace_bytes(plan, new)


def _blank(table: pa.Table, hit: Sequence[bool]) -> pa.Table:
    """The table with the rows that are hit erased: no captions, and of the source's own columns only addresses."""

    def blank(name: str, values: Iterable[Any]) -> list[Any]:
        if name in ("location", *URLS):
            return [
                erased_location(value) if erased and value else value
                for value, erased in zip(values, hit, strict=True)
            ]
        nothing: Any = [] if name == "captions" else None
        return [nothing if erased else value for value, erased in zip(values, hit, strict=True)]

    columns = [
        table[name]
        if name == "key"
        else pa.array(blank(name, table[name].to_pylist()), table.schema.field(name).type)
        for name in table.column_names
    ]
    return pa.table(columns, table.schema)
