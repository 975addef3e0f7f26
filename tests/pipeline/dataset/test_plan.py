"""Planning needs no more memory for many rows than for few."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from t2i_shards.pipeline.dataset.plan import write_segment
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.row import Row


def rows(count: int) -> Iterator[Row]:
    for i in range(count):
        yield Row(f"{i:09d}", f"http://a/{i}", ("a",))


def peak(root: Path, count: int) -> int:
    tracemalloc.start()
    try:
        write_segment(open_store(str(root)), rows(count), 500)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_plan(tmp_path: Path) -> None:
    peak(tmp_path / "warm", 1000)
    few, many = peak(tmp_path / "few", 5_000), peak(tmp_path / "many", 40_000)
    assert many < few + 300_000, "keys were kept"
