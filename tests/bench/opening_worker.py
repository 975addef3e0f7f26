"""One measurement of tests.bench.opening, in a process of its own: arguments ROOT WHAT COLUMN…"""

from __future__ import annotations

import json
import logging
import pickle
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.left import find_left
from t2i_shards.pipeline.dataset.status import dataset_status
from t2i_shards.pipeline.stream import measure_extent, open_stream


def open_all(root: str, columns: Sequence[str]) -> object:
    return open_stream(root, columns, cache_bytes=0)


def tell_left(root: str, columns: Sequence[str]) -> object:
    return find_left(Dataset.open(root), (IMAGES, *columns)).shards


def tell_status(root: str, columns: Sequence[str]) -> object:
    return dataset_status(Dataset.open(root))


def begin_training(root: str, columns: Sequence[str]) -> object:
    """What a rank does before the first shard is read: extent, stream, first block, what its loaders are given."""
    extent = measure_extent(Dataset.open(root))
    stream = open_stream(root, columns, cache_bytes=0, extent=extent)
    stream.block(0)
    return stream, len(pickle.dumps(stream))


WORK = {"open": open_all, "left": tell_left, "status": tell_status, "train": begin_training}


def read_memory() -> dict[str, float]:
    """What Linux counts for this process, in MB; RssAnon is what it does not share with those that map a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split()[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines if line.endswith(" kB")}


def main(root: str, what: str, columns: Sequence[str]) -> None:
    logging.disable()
    before = read_memory()
    started, cpu = time.perf_counter(), time.process_time()
    kept = WORK[what](root, columns)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    after = read_memory()
    pickled = kept[1] if isinstance(kept, tuple) else 0
    measured = {
        "seconds": seconds,
        "cpu": cpu,
        "private MB": after["RssAnon:"] - before["RssAnon:"],
        "resident MB": after["VmRSS:"] - before["VmRSS:"],
        "pickled MB": pickled / 1e6,
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
