"""A row of the plan: one picture that a shard was asked to hold, and how plan files store it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.sample import KEY, is_key
from t2i_shards.pipeline.shards.table import decode_table

PLANNED = pa.schema(
    [("key", pa.string()), ("location", pa.string()), ("captions", pa.list_(pa.string())), ("digest", pa.string())]
)
"""The columns of every plan file; those of the source's own come behind them."""
URLS = ("url", "coco_url", "flickr_url")
"""The sources' own columns that hold a picture's address, in addition to its location."""


@dataclass(frozen=True, slots=True)
class Row:
    """location: path or URL of the original. captions: none where they come with the picture, or there are none.

    digest: sha256 of the original file, in hexadecimal; None where it is not known beforehand.
    extra: the source's own columns, name -> value; those that a row lacks and others have are null.
    """

    key: str
    location: str
    captions: tuple[str, ...] = ()
    digest: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def encode_plan(rows: Iterable[Row]) -> bytes:
    """The plan file of these rows. The same rows give the same bytes."""
    records = [
        {
            "key": row.key,
            "location": row.location,
            "captions": list(row.captions),
            "digest": row.digest,
            **row.extra,
        }
        for row in rows
    ]
    names = dict.fromkeys(name for record in records for name in record)
    whole = [{name: record.get(name) for name in names} for record in records]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(whole), file)
    return file.getvalue()


def decode_plan_table(data: bytes | memoryview, path: str) -> pa.Table:
    """A plan file as a table, PLANNED first. Raises DamagedShard, which names `path`."""
    return decode_table(data, path, PLANNED, whole=("key", "location", "captions"), more=True)


def decode_plan(data: bytes | memoryview, path: str) -> list[Row]:
    """The rows of a plan file. Raises DamagedShard, which names `path`."""
    rows = [_read_row(record) for record in decode_plan_table(data, path).to_pylist()]
    for row in rows:
        if not is_key(row.key) or None in row.captions:
            raise DamagedShard(f"{path}: a row must have a key of {KEY.pattern} and captions without nulls")
    return rows


def _read_row(record: dict[str, Any]) -> Row:
    key, location, captions, digest = (record.pop(name) for name in PLANNED.names)
    return Row(key, location, tuple(captions), digest, record)
