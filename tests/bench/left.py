"""Finding out which of 10,000 shards in an object store are left to do."""

from __future__ import annotations

import time
from pathlib import Path

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.left import find_left
from t2i_shards.pipeline.dataset.roll_up import THOUSAND, RollUp
from t2i_shards.pipeline.shards.receipt import shard_name
from tests.bench.measure import Row
from tests.scale.synthetic import count, counted_s3, fill, put_in_moto

SHARDS, LEFT = 10_000, 37


def bench(folder: Path) -> list[Row]:
    del folder
    rows = []
    with counted_s3() as counts:
        put = put_in_moto("left")
        fill(put, SHARDS, ())
        put("sketch/column.json", b"{}")
        for shard in range(SHARDS - LEFT):
            for suffix in ("json", "tar"):
                put(f"sketch/{shard_name(shard)}.{suffix}", b"")
        for kind in ("without roll-ups", "with roll-ups"):
            found: list[int] = []

            def tell(found: list[int] = found) -> None:
                found += find_left(Dataset.open("s3://left/root"), ["sketch"]).shards

            started = time.perf_counter()
            asked = count(counts, tell)
            seconds = time.perf_counter() - started
            assert found == list(range(SHARDS - LEFT, SHARDS))
            goal = "<= 10" if kind == "with roll-ups" else ""
            rows.append(Row(f"what is left of 10,000 shards on S3, {kind}", "s", seconds, None, None, "<= 10"))
            rows.append(Row("the same", "LIST calls", float(asked["LIST"]), None, None, goal))
            for first in range(0, SHARDS - THOUSAND, THOUSAND):  # only their names are read
                put(RollUp(first, first + THOUSAND - 1, "0" * 64, "sketch").path, b"")
    return rows
