"""Trainings small enough to be killed again and again, on the real stream."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from t2i_shards.jobs.launch.torchrun import IMPORTED
from t2i_shards.pipeline.runlog import read_log
from t2i_shards.pipeline.sources.scenes import ScenesSource
from tests.faults.toys import make_images


def make_scenes(root: Path, seed: int = 0) -> Path:
    """24 scenes in 6 shards with their sketches, made in this process."""
    make_images(root, ScenesSource(samples=24, seed=seed), 4, ("sketch",))
    return root


def train_words(root: Path, out: Path, steps: int = 4) -> list[str]:
    """The command line of a training with a checkpoint every two steps."""
    fixed = (
        "--condition sketch --base tiny --adapter tiny --batch 4 --lr 1e-3 --validation 2 --validate-every 2 "
        "--checkpoint-every 2 --device cpu --threads 1"
    )
    return ["train", os.fspath(root), *fixed.split(), "--steps", str(steps), "--out", os.fspath(out)]


def start_command(words: list[str]) -> ForkServerProcess:
    """The command in a process of its own, forked from a server that has the libraries imported."""
    multiprocessing.set_forkserver_preload([*IMPORTED])
    process = multiprocessing.get_context("forkserver").Process(target=_run, args=(words,))
    process.start()
    return process


def _run(words: list[str]) -> None:
    from t2i_shards.jobs.__main__ import run

    sys.exit(run(words))


def steps_done(out: Path) -> int:
    """As the log tells; -1 where there is none."""
    return max((line.step for line in read_log(out / "log.jsonl")), default=-1)


def find_workers() -> list[int]:
    """The processes that train together, on Ray or this machine, and descend from this one."""
    own: Any = psutil.Process()
    workers = []
    for process in own.children(recursive=True):
        try:
            words, parent = " ".join(process.cmdline()), process.parent()
            forked = "forkserver" in words and parent is not None and "forkserver" in " ".join(parent.cmdline())
        except psutil.NoSuchProcess:
            continue
        if forked or "RayTrainWorker" in words:
            workers.append(process.pid)
    return workers
