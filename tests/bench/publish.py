"""Packing against copying the same bytes through sha256.

Both end on the disk (fsync). Packing verifies what it reads, hashes what it writes, and builds all indexes of a
shard in one scan.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.publish import index, pack
from t2i_shards.pipeline.publish.config import Publication
from t2i_shards.pipeline.publish.plan import plan_publish
from t2i_shards.pipeline.shards.store import open_store
from tests.bench.measure import Row, in_turns
from tests.bench.toy import make_dataset
from tests.faults.toys import Pictures, make_images

CHUNK = 1 << 20


def bench(folder: Path) -> list[Row]:
    make_dataset(folder / "dataset", 3, 400, 512)
    dataset = Dataset.open(str(folder / "dataset"))
    return [
        _against_copying("packing against copying the same bytes through sha256", folder, dataset, (), ">= 0.8"),
        _scans(folder),
        _memory(folder),
    ]


def _against_copying(what: str, folder: Path, dataset: Dataset, columns: tuple[str, ...], goal: str) -> Row:
    to = folder / "published"

    def packing() -> float:
        shutil.rmtree(to, ignore_errors=True)
        plan = plan_publish(dataset, Publication(columns=columns, shard_size=450), open_store(str(to)))
        survey = plan.survey()
        choice = plan.choose({shard: survey(shard) for shard in dataset.shards})
        stage = plan.pack(choice, {})
        stage.setup()
        started = time.perf_counter()
        size = sum(r.bytes for n in range(len(choice.targets)) for r in stage(n).receipts.values())
        return size / 1e6 / (time.perf_counter() - started)

    def copying() -> float:
        sources = sorted((to / "data").glob("*.tar"))
        copy = folder / "copy"
        copy.mkdir(exist_ok=True)
        started = time.perf_counter()
        size = sum(_copy(source, copy / source.name) for source in sources)
        seconds = time.perf_counter() - started
        shutil.rmtree(copy)
        return size / 1e6 / seconds

    return in_turns(what, "MB/s", goal, packing, copying)


def _copy(source: Path, target: Path) -> int:
    digest, size = hashlib.sha256(), 0
    with open(source, "rb") as file, open(target, "wb") as out:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
            size += len(chunk)
        out.flush()
        os.fsync(out.fileno())
    return size


def _scans(folder: Path) -> Row:
    """How often the headers of a tar are read for all its indexes."""
    counted = 0
    real: Callable[..., list[index.Entry]] = index.scan

    def scan(data: memoryview) -> list[index.Entry]:
        nonlocal counted
        counted += 1
        return real(data)

    dataset = make_images(folder / "small", Pictures(40), 20)
    plan = plan_publish(dataset, Publication(shard_size=10), open_store(str(folder / "small out")))
    survey = plan.survey()
    choice = plan.choose({shard: survey(shard) for shard in dataset.shards})
    stage = plan.pack(choice, {})
    stage.setup()
    pack.scan = scan  # type: ignore[attr-defined]
    try:
        for number in range(len(choice.targets)):
            stage(number)
    finally:
        pack.scan = real  # type: ignore[attr-defined]
    return Row("scans of each tar for all indexes", "", counted / len(choice.targets), None, None, "1")


def _memory(folder: Path) -> Row:
    """MB of a process that publishes 100,000 small samples."""
    command = [sys.executable, "-m", "tests.bench.publish_memory", os.fspath(folder / "memory")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = json.loads(done.stdout.splitlines()[-1])["megabytes"]
    return Row("memory of publishing 100,000 small samples", "MB", peak, None, None, "< 1000")
