"""PiDiNet at 512x512 on this machine's cores: the sketch extractor against controlnet_aux's detector.

Each as its users run it. Ours as `extract --workers N` does: a worker a core, each with a picture of its own on
one thread. controlnet_aux's in one process, a picture at a time on all cores, as torch does by itself. Both see
RGB: the detector turns its input to BGR, and is given BGR.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import peers
from tests.bench.measure import Row, in_turns
from tests.bench.photographs import photographs
from tests.bench.weights import provide

SIZE, EACH, ROUNDS = 512, 2, 5
_state: dict[str, Any] = {}
"""A worker's own: what draws sketches."""


def bench(folder: Path) -> list[Row]:
    weights = provide(["sketch"], folder / "weights")
    cores = len(os.sched_getaffinity(0))
    pictures = photographs(EACH * cores, SIZE)
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(cores, spawn, load_ours, (weights,)) as workers,
        ProcessPoolExecutor(1, spawn, load_theirs, (weights,)) as peer,
    ):
        row = in_turns(
            f"PiDiNet at {SIZE}x{SIZE} on {cores} cores against controlnet_aux",
            "pictures/s",
            ">= 3",
            lambda: rate(workers, pictures),
            lambda: rate(peer, pictures[:EACH]),
            ROUNDS,
        )
        agreement = iou(draw_all(workers, pictures), draw_all(peer, pictures))
        alone = in_turns(
            "the same, one picture on one core, CPU time",
            "pictures/cpu-s",
            "",
            lambda: workers.submit(per_cpu_second, pictures[0], 1).result(),
            lambda: peer.submit(per_cpu_second, pictures[0], 1).result(),
            3,
        )
    return [
        row,
        Row("its edges (> 0.5) and controlnet_aux's, IoU", "%", 100 * agreement, None, None, ">= 99.5"),
        alone,
    ]


def rate(workers: ProcessPoolExecutor, pictures: Sequence[np.ndarray]) -> float:
    """Pictures per second, all that the workers do together."""
    started = time.perf_counter()
    draw_all(workers, pictures)
    return len(pictures) / (time.perf_counter() - started)


def draw_all(workers: ProcessPoolExecutor, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    return list(workers.map(draw, pictures))


def draw(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W): 255 * edge."""
    return np.asarray(_state["draw"](picture))


def per_cpu_second(picture: np.ndarray, threads: int) -> float:
    """Pictures per second of the CPU, in a worker."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    started = time.process_time()
    draw(picture)
    used = time.process_time() - started
    torch.set_num_threads(before)
    return 1 / used


def load_ours(weights: Path) -> None:
    from t2i_shards.extractors.sketch import Sketch

    provide(["sketch"], weights)
    sketch = Sketch("default", weights)
    sketch.load("cpu")
    _state["draw"] = lambda picture: sketch(picture[None])[0]


def load_theirs(weights: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = peers.sketch(weights, "cpu", SIZE)
    _state["draw"] = lambda picture: detector(picture)[..., 0]


def iou(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Of the pixels that are edges, over all pictures."""
    pairs = [(a > 127, b > 127) for a, b in zip(ours, theirs, strict=True)]
    return float(sum((a & b).sum() for a, b in pairs) / sum((a | b).sum() for a, b in pairs))
