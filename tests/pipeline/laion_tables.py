"""Metadata as tests need it: a few rows that would all pass, and the parquet files made of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row


def table(count: int, **changes: Any) -> pa.Table:
    """`count` rows with the columns of LAION-Aesthetics V2, some of them replaced, added, or (None) removed."""
    columns: dict[str, Any] = {
        "URL": [f"http://example.com/{i}.jpg" for i in range(count)],
        "TEXT": [f"picture {i}" for i in range(count)],
        "WIDTH": pa.array([800.0] * count, pa.float64()),
        "HEIGHT": pa.array([600.0] * count, pa.float64()),
        "similarity": pa.array([0.3] * count, pa.float64()),
        "hash": pa.array(range(-5, count - 5), pa.int64()),
        "punsafe": pa.array([0.01] * count, pa.float32()),
        "pwatermark": pa.array([0.1] * count, pa.float32()),
        "AESTHETIC_SCORE": pa.array([6.5] * count, pa.float32()),
    }
    return pa.table({name: column for name, column in {**columns, **changes}.items() if column is not None})


def write(path: Path, content: pa.Table, group: int = 1 << 20, **options: Any) -> str:
    pq.write_table(content, path, row_group_size=group, **options)
    return str(path)


def write_many(folder: Path, sizes: list[int], group: int = 1 << 20) -> str:
    """Files of so many rows; every URL says which row of all it is. The glob that matches them."""
    start = 0
    for number, size in enumerate(sizes):
        urls = [f"http://example.com/{start + i}" for i in range(size)]
        scores = np.random.default_rng(number).random(size) * 10
        write(folder / f"part-{number:05d}.parquet", table(size, URL=urls, AESTHETIC_SCORE=scores), group)
        start += size
    return str(folder / "*.parquet")


def planned(source: LaionSource) -> tuple[list[Row], Counter[str]]:
    left_out = LeftOut()
    return list(source.rows(left_out)), left_out
