"""`python -m tests.bench.plan_memory FOLDER ROWS`: plans rows, lets each become a sample, and marks duplicates.

In a process of its own, which prints a line of JSON: the rows, the marks, and of planning, indexing and marking
the CPU seconds and the peak of the memory that is not of files, in MB. There are receipts and tables of rows, but
no tars. Hashes are drawn at random; one picture in fifty is near to an earlier one, and one is the same file.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import mark_duplicates
from t2i_shards.pipeline.dataset.outcomes import ROWS, digest_rows, rows_path
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.commit import receipt_path
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import digest_keys
from t2i_shards.pipeline.shards.table import encode_table
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages.index_names import plan_index
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset

SHARD = 1000


@contextmanager
def watch(told: dict[str, float], name: str) -> Iterator[None]:
    """Puts the peak and the CPU seconds of what is done into `told`."""
    peak, ended, started = [0], threading.Event(), time.process_time()

    def look() -> None:
        while not ended.wait(0.05):
            found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
            peak[0] = max(peak[0], int(found[1]) if found else 0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    told |= {f"{name}_megabytes": peak[0] // 1024, f"{name}_seconds": round(time.process_time() - started, 1)}


def finish(dataset: Dataset) -> None:
    """Every planned row becomes a sample."""
    for shard in dataset.shards:
        first, count = shard * SHARD, len(dataset.plan(shard))
        keys = [f"{number:09d}" for number in range(first, first + count)]
        random = np.random.default_rng(shard)
        bits = random.integers(0, 256, (count, 72), dtype=np.uint8)
        if shard:
            others = np.random.default_rng(shard - 1).integers(0, 256, (SHARD, 72), dtype=np.uint8)[:count]
            bits[::50, :40] = others[25::50, :40]  # the hashes
            bits[::50, 0] ^= 3
            bits[1::50, 40:] = others[25::50, 40:]  # the file
        texts = [row.tobytes().hex() for row in bits]
        table = {
            "key": keys,
            "status": ["ok"] * count,
            "sha256": [text[80:] for text in texts],
            "phash": [text[:16] for text in texts],
            "phash256": [text[16:80] for text in texts],
        }
        columns = [
            pa.array(table[field.name], field.type) if field.name in table else pa.nulls(count, field.type)
            for field in ROWS
        ]
        data = encode_table(pa.table(columns, ROWS))
        receipt = Receipt(
            column=IMAGES,
            shard=shard,
            planned=count,
            samples=count,
            bytes=0,
            sha256=f"{shard:064x}",
            keys=digest_keys(keys),
            recipe=dataset.description.recipe,
            rows=digest_rows(data),
        )
        dataset.store.create_bytes(rows_path(shard), data)
        dataset.store.create_bytes(receipt_path(IMAGES, shard), receipt.encode())


def main(folder: Path, rows: int) -> None:
    told: dict[str, float] = {"rows": rows}
    with watch(told, "plan"):
        dataset = plan_dataset(str(folder / "root"), ScenesSource(rows), Geometry(64), SHARD)
    finish(dataset)
    with watch(told, "index"):
        stage = plan_index(dataset, dataset.receipts(IMAGES))
        for piece in range(len(stage.pieces)):
            stage(piece)
    with watch(told, "mark"):
        told["marks"] = len(mark_duplicates(dataset))
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
