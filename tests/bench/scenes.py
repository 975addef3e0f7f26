"""Rendering scenes on one core; there is no peer."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from t2i_shards.pipeline.image.stored import use_threads
from t2i_shards.pipeline.scenes import render
from tests.bench.measure import Row

PICTURES, ROUNDS = 60, 5


def bench(folder: Path) -> list[Row]:
    del folder
    use_threads(1)
    render(0, 0)
    rates = [_rate(turn) for turn in range(ROUNDS)]
    return [Row("scenes of 256x256 on one core", "pictures/cpu-s", statistics.median(rates), None, None, ">= 30")]


def _rate(turn: int) -> float:
    started = time.process_time()
    for index in range(PICTURES):
        render(turn, index)
    return PICTURES / (time.process_time() - started)
