"""Rows on disk come back in the order of their keys, or numbered in the order in which they were added."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tars.order import INPUT_KEY, RowsOnDisk


def order(folder: Path, rows: list[Row]) -> list[Row]:
    stored = RowsOnDisk(folder)
    for row in rows:
        stored.add(row)
    found = list(stored)
    stored.close()
    return found


def make_rows(keys: list[str]) -> list[Row]:
    extra = {"n": 1, "deep": ["é", None], INPUT_KEY: None}
    return [Row(key, f"at {i}", ("a", "b"), None, extra) for i, key in enumerate(keys)]


def test_unique_keys_rise_as_python_compares_them(tmp_path: Path) -> None:
    rng = random.Random(0)
    keys = list({"".join(rng.choices("aZ09_-", k=rng.randint(1, 8))) for _ in range(3000)})
    rows = make_rows(keys)
    assert order(tmp_path, rows) == sorted(rows, key=lambda row: row.key)


@pytest.mark.parametrize("keys", [["b", "a", "b"], ["a", "b.c"], ["a", ""], ["a", "é"]])
def test_other_keys_become_numbers_and_are_remembered(keys: list[str], tmp_path: Path) -> None:
    found = order(tmp_path, make_rows(keys))
    assert [row.key for row in found] == [f"{i:09d}" for i in range(len(keys))]
    assert [row.extra[INPUT_KEY] for row in found] == keys
    assert [row.location for row in found] == [f"at {i}" for i in range(len(keys))]
