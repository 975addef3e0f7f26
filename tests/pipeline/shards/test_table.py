"""A table is read only with the columns it should have."""

from __future__ import annotations

import random
from contextlib import suppress

import pyarrow as pa
import pytest

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.table import decode_table, encode_table

SCHEMA = pa.schema([("key", pa.string()), ("shard", pa.int32()), ("texts", pa.list_(pa.string()))])
TABLE = pa.table([["a", "b"], [0, 1], [["x"], []]], SCHEMA)


def test_it_comes_back() -> None:
    assert decode_table(encode_table(TABLE), "t", SCHEMA, whole=SCHEMA.names) == TABLE
    wider = TABLE.append_column("more", pa.array([1.5, 2.5]))
    assert decode_table(encode_table(wider), "t", SCHEMA) == TABLE
    assert decode_table(encode_table(wider), "t", SCHEMA, more=True) == wider


def test_a_column_in_which_nothing_was_written_has_no_type() -> None:
    empty = pa.table({"key": ["a"], "shard": pa.nulls(1), "texts": pa.array([[]], pa.list_(pa.null()))})
    read = decode_table(encode_table(empty), "t", SCHEMA, whole=("key",))
    assert read.to_pylist() == [{"key": "a", "shard": None, "texts": []}]
    with pytest.raises(DamagedShard, match=r"^t: shard must have no nulls"):
        decode_table(encode_table(empty), "t", SCHEMA, whole=("key", "shard"))


@pytest.mark.parametrize(
    "wrong",
    [
        TABLE.drop_columns(["shard"]),
        TABLE.set_column(1, "shard", pa.array([0, 1])),
        TABLE.set_column(1, "shard", pa.array(["0", "1"])),
        TABLE.set_column(0, "key", pa.array([b"\xff", b"b"])),
        TABLE.set_column(0, "key", pa.array([["a"], ["b"]])),
        TABLE.set_column(2, "texts", pa.array([[1], [2]])),
        TABLE.append_column("key", pa.array(["c", "d"])),
        TABLE.set_column(0, "key", pa.array([None, "b"])),
        pa.table({}),
    ],
    ids=lambda table: str(table.schema).replace("\n", " ")[:60],
)
def test_other_columns_are_refused(wrong: pa.Table) -> None:
    with pytest.raises(DamagedShard, match=r"^t: .*(must have|twice)"):
        decode_table(encode_table(wrong), "t", SCHEMA, whole=("key",))


def test_text_that_is_none_is_refused() -> None:
    """Its type is text; its bytes are not."""
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"\xfe"]).buffers())
    with pytest.raises(DamagedShard, match=r"^t: not a parquet file .*UTF"):
        decode_table(encode_table(TABLE.set_column(0, "key", bad)), "t", SCHEMA)


def test_damaged_bytes_are_refused_or_read() -> None:
    """Parquet has no checksum here, so a changed value may pass; the shape may not."""
    data, rng = encode_table(TABLE), random.Random(0)
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 5))):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        with suppress(DamagedShard):
            read = decode_table(bytes(changed), "t", SCHEMA, whole=SCHEMA.names)
            assert read.schema.names == SCHEMA.names
            read.to_pylist()
    for length in range(0, len(data), 25):
        with pytest.raises(DamagedShard, match=r"^t: not a parquet file"):
            decode_table(data[:length], "t", SCHEMA)
