"""The pool of this machine: every shard once, and no worker outlives its driver."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.engine.local import LocalPool
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.stages.stage import StageResult
from t2i_shards.pipeline.under_way import TELL_EVERY, count_samples
from tests.pipeline.engine.test_run import Stage


def test_the_local_pool_does_all(tmp_path: Path) -> None:
    stage = Stage(tmp_path, bad=(3,), deadly=(5, 9), until=1)
    result = run(stage, range(14), "local", 2)
    assert sorted(result.made) == list(range(14))
    assert result.attempts == {3: 1, 5: 1, 9: 1}
    assert {shard: stage.tries(shard) for shard in range(14)} == {s: 2 if s in (3, 5, 9) else 1 for s in range(14)}
    # Two to begin with, and one for each that died.
    assert len(list(tmp_path.glob("setup-*"))) <= 4
    assert result.problems == ["shard 000013: 1 sample failed, the first: bad sample"]
    assert multiprocessing.active_children() == []


@dataclass
class Counting(Stage):
    """Counts ten samples, and then waits until the test has heard of them."""

    def __call__(self, shard: int) -> StageResult:
        time.sleep(TELL_EVERY)
        count_samples(10)
        wait_for(self.folder / "heard")
        return super().__call__(shard)


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 300
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.01)


@dataclass
class Watch:
    """A progress callback."""

    folder: Path
    seen: list[int] = field(default_factory=list)

    def __call__(self, shard: int, made: StageResult | None) -> None:
        self.seen.append(-shard)

    def show_under_way(self, samples: int) -> None:
        self.seen.append(samples)
        if samples == 20:
            (self.folder / "heard").touch()


def test_samples_of_shards_under_way_are_heard_of(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    run(Counting(tmp_path), (1, 2), "local", 2, watch)
    assert 20 in watch.seen[: watch.seen.index(-1)], "of both, before either is done"
    assert watch.seen[-1] in (-1, -2)
    assert max(watch.seen) == 20


def test_an_idle_worker_that_dies_harms_nothing(tmp_path: Path) -> None:
    pool = LocalPool(Stage(tmp_path), 2)
    try:
        for shard in (0, 1):
            pool.submit(shard)
        done: list[int] = []
        while len(done) < 2:
            done += [event.shard for event in pool.wait()]
        before = [child.pid for child in multiprocessing.active_children()]
        os.kill(before[0] or 0, signal.SIGKILL)
        limit = time.monotonic() + 600
        while {child.pid for child in multiprocessing.active_children()} <= set(before):
            assert pool.wait() == []
            assert time.monotonic() < limit
        pool.submit(2)
        pool.submit(3)
        while len(done) < 4:
            done += [event.shard for event in pool.wait()]
        assert sorted(done) == [0, 1, 2, 3]
    finally:
        pool.close()


def test_a_worker_that_lost_its_driver_says_nothing(tmp_path: Path) -> None:
    """Its pipe is reset, not closed, when the driver left a result unread."""
    script = (
        "import multiprocessing, os, sys, time, pathlib\n"
        "from tests.pipeline.engine.test_run import Stage\n"
        "from t2i_shards.pipeline.engine.local import LocalPool\n"
        "if __name__ == '__main__':\n"
        "    folder = pathlib.Path(sys.argv[1]); pool = LocalPool(Stage(folder), 1)\n"
        "    pool.submit(0)\n"
        "    while not list(folder.glob('shard-0-*')): time.sleep(0.01)\n"
        "    time.sleep(0.3)\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "driver.py"
    path.write_text(script)
    checkout = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, path, tmp_path],
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == -signal.SIGKILL
    # stderr is whole: it ends when the worker does.
    assert done.stderr == ""


def test_a_broken_stage_ends_the_run_and_its_workers(tmp_path: Path) -> None:
    with pytest.raises(
        IncompleteError, match=r"^cannot write: No space left on device; nothing that is done is lost$"
    ):
        run(Stage(tmp_path, bad=(2,), error=OSError(errno.ENOSPC, "x")), range(8), "local", 1)
    assert multiprocessing.active_children() == []


def test_workers_must_be_some(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--workers must be at least 1, not 0"):
        run(Stage(tmp_path), range(3), "local", 0)
