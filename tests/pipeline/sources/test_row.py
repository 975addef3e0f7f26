"""A row of the plan: plan files are what they always were, and each row comes back as it was written."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.sources.row import Row, decode_plan, encode_plan

ROWS = [
    Row("a", "http://x/a", ("one", "two"), "ab" * 32, {"width": 640, "people": [[1.0, 2.5], []], "name": None}),
    Row("b", "http://x/b", (), None, {"width": None, "people": [], "name": "é"}),
]
STORED = [
    {
        "key": "a", "location": "http://x/a", "captions": ["one", "two"], "digest": "ab" * 32,
        "width": 640, "people": [[1.0, 2.5], []], "name": None,
    },
    {
        "key": "b", "location": "http://x/b", "captions": [], "digest": None,
        "width": None, "people": [], "name": "é",
    },
]  # fmt: skip


def written(records: list[dict[str, Any]]) -> bytes:
    """A plan file as the versions before rows were a class wrote it."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), file)
    return file.getvalue()


def test_plan_files_are_what_they_were() -> None:
    assert encode_plan(ROWS) == written(STORED)
    assert decode_plan(written(STORED), "plan") == ROWS


@pytest.mark.parametrize("rows", [ROWS, [replace(row, captions=(), digest=None, extra={}) for row in ROWS]])
def test_rows_come_back(rows: list[Row]) -> None:
    found = decode_plan(encode_plan(rows), "plan")
    assert found == rows
    assert [list(row.extra) for row in found] == [list(row.extra) for row in rows]


@pytest.mark.parametrize("change", [{"key": "a.b"}, {"key": ""}, {"captions": ["a", None]}])
def test_a_row_that_cannot_be_one_is_damage(change: dict[str, Any]) -> None:
    data = written([{**STORED[0], **change}])
    with pytest.raises(DamagedShard, match=r"^plan: a row must have a key of .* and captions without nulls$"):
        decode_plan(data, "plan")


@pytest.mark.parametrize("name", ["key", "location", "captions"])
def test_a_row_without_what_every_row_has_is_damage(name: str) -> None:
    with pytest.raises(DamagedShard, match=rf"^plan: {name} must have no nulls$"):
        decode_plan(written([STORED[0], {**STORED[1], name: None}]), "plan")


def test_what_any_row_has_is_kept() -> None:
    """Metadata may have named no licence when the first rows were planned, and do so now."""
    rows = [Row("000000000", "a"), Row("000000001", "b", extra={"license": "mit"})]
    assert [row.extra["license"] for row in decode_plan(encode_plan(rows), "x")] == [None, "mit"]
