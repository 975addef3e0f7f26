"""Five conditions of 256x256 pictures in one pass, against five passes with a picture at a time, on the CPU.

Ours as `extract --workers N` runs it, shard in, five shards out: a worker a core, each with a shard and a thread.
The others in one process, on all cores as torch does by itself; each pass decodes the pictures again.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.stages import Extract, plan_extract
from tests.bench.measure import Row
from tests.bench.peers import PEERS, load_peer
from tests.bench.photographs import draw_photograph
from tests.bench.toy import make_dataset
from tests.bench.weights import provide

SIZE, SHARD, ROUNDS = 256, 4, 3
FIVE = tuple(PEERS)
_state: dict[str, Any] = {}
"""A worker's own: its stage, or its loaded peers and pictures."""

Seconds = dict[str, float]
"""condition -> seconds a picture."""


def bench(folder: Path) -> list[Row]:
    cores = len(os.sched_getaffinity(0))
    weights, root = provide(FIVE, folder / "weights"), folder / "dataset"
    make_dataset(root, cores * (ROUNDS + 1), SHARD, SIZE, draw_photograph)
    spawn = multiprocessing.get_context("spawn")
    ours: list[tuple[float, Seconds]] = []
    theirs: list[tuple[float, Seconds]] = []
    with (
        ProcessPoolExecutor(cores, spawn, load_stage, (root, weights)) as workers,
        ProcessPoolExecutor(1, spawn, load_peers, (root, weights)) as peers,
    ):
        for turn in range(ROUNDS + 1):
            ours.append(one_pass(workers, range(turn * cores, (turn + 1) * cores)))
            theirs.append(peers.submit(five_passes).result())
    what = f"five conditions at {SIZE}x{SIZE} on {cores} cores, one pass against five"
    rows = [row(what, ">= 1.5", [rate for rate, _ in ours[1:]], [rate for rate, _ in theirs[1:]])]
    for name in FIVE:
        alone = [cores / seconds[name] for _, seconds in ours[1:]]
        rows.append(row(f"of these {name}", "", alone, [1 / seconds[name] for _, seconds in theirs[1:]]))
    return rows


def row(what: str, goal: str, ours: list[float], theirs: list[float]) -> Row:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return Row(what, "pictures/s", statistics.median(ours), statistics.median(theirs), ratio, goal)


def one_pass(workers: ProcessPoolExecutor, shards: range) -> tuple[float, Seconds]:
    """Pictures per second of all workers, and what one worker takes for each condition (its encoding left out)."""
    started = time.perf_counter()
    found = list(workers.map(extract, shards))
    rate = len(shards) * SHARD / (time.perf_counter() - started)
    return rate, {name: statistics.mean(seconds[name] for seconds in found) for name in FIVE}


def load_stage(root: Path, weights: Path) -> None:
    provide(FIVE, weights)
    stage: Extract = plan_extract(Dataset.open(str(root)), FIVE, weights=weights)
    stage.setup()
    _state["stage"] = stage


def extract(shard: int) -> Seconds:
    receipts = _state["stage"](shard).receipts
    assert all(receipts[name].samples == SHARD for name in FIVE)
    return {name: receipts[name].seconds / SHARD for name in FIVE}


def load_peers(root: Path, weights: Path) -> None:
    provide(FIVE, weights)
    _state["peers"] = {name: load_peer(name, weights, "cpu", SIZE) for name in FIVE}
    _state["jpegs"] = [bytes(sample.members["jpg"]) for sample in Dataset.open(str(root)).load(IMAGES, 0)]


def five_passes() -> tuple[float, Seconds]:
    """Pictures per second of all five after each other, and what each takes."""
    seconds = {}
    for name, convert in _state["peers"].items():
        started = time.perf_counter()
        for jpeg in _state["jpegs"]:
            assert convert(jpeg)
        seconds[name] = (time.perf_counter() - started) / SHARD
    return 1 / sum(seconds.values()), seconds
