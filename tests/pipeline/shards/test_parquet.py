"""Tables of others: what unpacks to far more than its file is refused, or read a few rows at a time."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.dataset.outcomes import decode_rows, encode_rows
from t2i_shards.pipeline.dataset.plan import plan_path, read_plan
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.parquet_footer import Chunk, read_chunks
from t2i_shards.pipeline.shards import parquet
from t2i_shards.pipeline.shards.parquet import Unbounded, check_table
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.shards.table import decode_table
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.metadata import find_metadata
from tests.extractors.test_budget import MEGABYTE, run_limited

LONG = "x" * 40_000


def write(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", store_schema=False, **options)
    return file.getvalue()


def repeated(rows: int) -> pa.Array:
    """LONG in each row, and in memory once."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [LONG])


BOMBS: dict[str, Callable[[], bytes]] = {
    "one long text in all rows": lambda: write(pa.table({"key": repeated(50_000)})),
    "the same in lists": lambda: write(
        pa.table({"key": pa.ListArray.from_arrays(np.arange(0, 50_001, 10, dtype=np.int32), repeated(50_000))})
    ),
    "runs of a number": lambda: write(pa.table({"key": pa.repeat(7, 20_000_000)})),
    "packed zeros": lambda: write(pa.table({"key": ["\0" * (200 << 20)]}), use_dictionary=False),
    "texts that go on": lambda: write(
        pa.table({"key": [LONG] * 5_000}), use_dictionary=False, column_encoding={"key": "DELTA_BYTE_ARRAY"}
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_unpacks_to_much_is_refused(bomb: str, tmp_path: Path) -> None:
    data = BOMBS[bomb]()
    assert len(data) < 100_000
    with pytest.raises(Unbounded, match=r"unpack to \d+ bytes|DELTA_BYTE_ARRAY"):
        check_table(data)
    store = open_store(str(tmp_path))
    store.create_bytes(plan_path(0), data)
    with pytest.raises(DamagedShard, match=r"plan/000000\.parquet: it"):
        read_plan(store, 0)


def test_the_refusal_takes_little_memory(tmp_path: Path) -> None:
    """With a positive control: the same reader, unchecked, does not fit."""
    (tmp_path / "bomb").write_bytes(BOMBS["one long text in all rows"]())
    code = """
    import sys
    import pyarrow as pa
    import pyarrow.parquet as pq
    from t2i_shards.pipeline.shards.parquet import Unbounded, check_table
    data = open({path!r}, "rb").read()
    LIMIT
    try:
        {call}
    except Unbounded as error:
        print("refused")
    """
    for call, said in (("check_table(data)", "refused\n"), ("pq.read_table(pa.BufferReader(data))", "")):
        done = run_limited(code.format(path=str(tmp_path / "bomb"), call=call), 512 * MEGABYTE)
        assert done.stdout == said, done.stderr[-2000:]


def test_a_footer_that_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that a column unpacks to little; Arrow goes by the headers of the pages, and these are counted."""
    data = BOMBS["packed zeros"]()
    monkeypatch.setattr(parquet, "read_chunks", lambda data: [lie(chunk) for chunk in read_chunks(data)])
    with pytest.raises(Unbounded, match=r"unpack to 2\d+ bytes"):
        check_table(data)


def lie(chunk: Chunk) -> Chunk:
    return replace(chunk, total_uncompressed_size=100)


def test_lawful_tables_come_whole() -> None:
    rows = [{"key": f"{i:09d}", "status": "ok", "sha256": f"{i:064x}", "width": 640} for i in range(20_000)]
    assert [row["key"] for row in decode_rows(encode_rows(rows))] == [row["key"] for row in rows]
    captions = [[LONG, f"caption {i}"] for i in range(500)]
    table = pa.table({"captions": captions, "empty": pa.nulls(500, pa.string())})
    assert decode_table(write(table), "a", table.schema).to_pylist() == table.to_pylist()
    assert decode_table(write(table.slice(0, 0)), "a", table.schema).num_rows == 0


@pytest.mark.parametrize("groups", [1, 3])
def test_metadata_with_long_texts_is_read_a_few_rows_at_a_time(
    groups: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not refused, for some captions are long: but never many of them at once."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1 << 20)
    rows = 3000
    captions = [LONG if i % 100 == 99 else f"caption {i}" for i in range(rows)]
    table = pa.table({"URL": [f"http://a/{i}" for i in range(rows)], "TEXT": captions})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows // groups)
    (file,) = find_metadata(str(tmp_path / "a.parquet"), Filters())
    found = [(start, columns) for start, columns in file.read()]
    assert max(len(columns["url"]) for _, columns in found) == (1 << 20) // len(LONG)
    assert [start for start, _ in found] == [sum(len(c["url"]) for _, c in found[:i]) for i in range(len(found))]
    texts = [text.decode() for _, columns in found for text in columns["caption"].to_pylist()]
    assert texts == captions


def test_metadata_whose_pages_unpack_to_much_is_refused(tmp_path: Path) -> None:
    table = pa.table({"URL": ["http://a/1"], "TEXT": ["\0" * (200 << 20)]})
    (tmp_path / "a.parquet").write_bytes(write(table, use_dictionary=False))
    (file,) = find_metadata(str(tmp_path / "a.parquet"), Filters())
    with pytest.raises(RequestError, match=r"a\.parquet: must be an undamaged parquet file \(it would unpack to"):
        list(file.read())
