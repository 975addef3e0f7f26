"""The files of `left_out.py`: records of counts, and tables of names, each named after its sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from t2i_shards.extractors.records import BadRecord, Count, decode_record
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import decode_table, encode_table
from t2i_shards.pipeline.sources.left_out import Named

FOLDER = "plan/left_out"
SCHEMA = pa.schema([("reason", pa.string()), ("location", pa.string())])


@dataclass(frozen=True)
class Record:
    """counts: of what was left out, and of notes. tables: the digests of those with the names, in their order."""

    counts: dict[str, Count]
    tables: tuple[str, ...] = ()


def record_path(number: int) -> str:
    return f"{FOLDER}/{shard_name(number)}.json"


def read_records(store: Store) -> list[Record]:
    """All that there are, the first one first. Raises DamagedShard."""
    names = [name for name in store.names(FOLDER) if name.endswith(".json")]
    return [_read_record(store, f"{FOLDER}/{name}") for name in names]


def _read_record(store: Store, path: str) -> Record:
    try:
        return decode_record(store.load(path), Record, closed=True)
    except BadRecord as error:
        raise DamagedShard(tell_damage(path, str(error))) from None


def write_table(store: Store, named: Sequence[Named]) -> str:
    columns = list(zip(*named, strict=True))
    data = encode_table(pa.table([pa.array(column) for column in columns], SCHEMA))
    digest = hashlib.sha256(data).hexdigest()
    store.create_bytes(f"{FOLDER}/{digest}.parquet", data)
    return digest


def read_table(store: Store, digest: str) -> list[Named]:
    path = f"{FOLDER}/{digest}.parquet"
    try:
        data = store.load(path)
    except FileNotFoundError:
        raise DamagedShard(tell_damage(path, "missing")) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedShard(tell_damage(path, "its sha256 is not its name"))
    table = decode_table(data, path, SCHEMA, whole=SCHEMA.names)
    return [Named(*pair) for pair in zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True)]


def read_counts(store: Store, path: str) -> dict[str, int]:
    try:
        return dict(decode_record(store.load(path), dict[str, Count]))
    except FileNotFoundError:
        return {}
    except BadRecord as error:
        raise DamagedShard(tell_damage(path, f"must be counts by reason: {error}")) from None
