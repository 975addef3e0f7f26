"""The engine: every shard once, attempts counted, two in flight, and a failure that says why."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.engine import RunResult, run
from t2i_shards.pipeline.engine.pool import IN_FLIGHT, Event, Failure, Worker, classify
from t2i_shards.pipeline.engine.run import ATTEMPTS, SETUPS
from t2i_shards.pipeline.engine.run import drive as run_on
from t2i_shards.pipeline.errors import BrokenStage, DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.stages.stage import StageResult


@dataclass
class Stage:
    """Notes its calls as files in `folder`; fails for the shards of `bad`, dies at those of `deadly`."""

    folder: Path
    bad: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()
    until: int = 99
    error: Exception = field(default_factory=lambda: ValueError("no good"))
    resources: Resources = field(default_factory=Resources)

    def setup(self) -> None:
        (self.folder / f"setup-{os.getpid()}-{time.monotonic_ns()}").touch()

    def __call__(self, shard: int) -> StageResult:
        (self.folder / f"shard-{shard}-{os.getpid()}-{time.monotonic_ns()}").touch()
        tries = len(list(self.folder.glob(f"shard-{shard}-*")))
        if shard in self.bad and tries <= self.until:
            raise self.error
        if shard in self.deadly and tries <= self.until:
            os.kill(os.getpid(), signal.SIGKILL)
        return StageResult(errors=("bad sample",) if shard == 13 else ())

    def tries(self, shard: int) -> int:
        return len(list(self.folder.glob(f"shard-{shard}-*")))


class Telling(Stage):
    """Gives what a warning of ours and one of a library look like on standard error."""

    def __call__(self, shard: int) -> StageResult:
        shown = io.StringIO()
        with redirect_stderr(shown):
            for name in ("t2i_shards.pipeline.download", "some.library"):
                logging.getLogger(name).warning("at %s", "https://me:pass@h/?sig=0f&a=1 \x1b[2J\u202e\x9b")
        return StageResult(errors=(shown.getvalue(),))


class FakePool:
    """A pool whose workers answer on command, to test the driver alone."""

    def __init__(self, answers: Mapping[int, list[StageResult | Failure | None]]) -> None:
        self.answers, self.begun = answers, list[int]()
        self.handed: list[int] | deque[int] = []
        self.careful: list[int] = []
        self.held: deque[int] = deque()
        self.closed = False
        self.under_way = 0

    @property
    def free(self) -> bool:
        return len(self.held) < IN_FLIGHT

    @property
    def idle(self) -> bool:
        return not self.held

    def submit(self, shard: int, careful: bool = False) -> None:
        assert self.free
        self.handed.append(shard)
        self.careful += [shard] if careful else []
        self.held.append(shard)

    def wait(self) -> list[Event]:
        shard = self.held.popleft()
        answers = self.answers.get(shard, [])
        return [Event(shard, answers.pop(0) if answers else StageResult())]

    def close(self) -> None:
        self.closed = True


# `t2i_shards.pipeline.engine.run` names the function once the package is imported.
DRIVER = sys.modules["t2i_shards.pipeline.engine.run"]
Answers = dict[int, list[StageResult | Failure | None]]
Drive = Callable[[int, Answers], tuple[RunResult, FakePool, list[tuple[int, bool]]]]


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Runs so many shards on a pool with these answers; (outcome, pool, reported progress)."""

    def go(shards: int, answers: Answers) -> tuple[RunResult, FakePool, list[tuple[int, bool]]]:
        pool = FakePool(answers)
        monkeypatch.setattr(DRIVER, "open_pool", lambda *_: pool)
        told: list[tuple[int, bool]] = []
        stage: Any = None
        try:
            result = run(stage, range(shards), progress=lambda s, made: told.append((s, made is not None)))
        finally:
            assert pool.closed
        return result, pool, told

    return go


FAILED = Failure("shard", "it failed")


def test_a_shard_over_which_a_worker_died_is_tried_with_care(drive: Drive) -> None:
    died = Failure("death", "the worker died")
    result, pool, _ = drive(4, {1: [FAILED, died, FAILED], 2: [FAILED], 3: [died]})
    assert pool.careful == [3, 1]
    assert sorted(result.made) == [0, 2, 3]
    assert (result.deaths, list(result.quarantined)) == ({1, 3}, [1])


def test_a_shard_is_not_late_while_it_waits_behind_another() -> None:
    class Behind(FakePool):
        """One worker is idle; the other begins shard 1 after 20 s, when it has made shard 0, and takes 25 s."""

        free = idle = True
        now = 0.0

        def wait(self) -> list[Event]:
            self.now += 20.0 if self.now < 40.0 else 5.0
            self.begun = [1] if self.now == 20.0 else []
            return [Event(shard, StageResult()) for shard, end in ((0, 20.0), (1, 45.0)) if self.now == end]

    pool = Behind({})
    assert sorted(run_on(pool, range(2), clock=lambda: pool.now).made) == [0, 1]
    assert pool.handed == [0, 1], "no second copy"


def test_every_shard_is_done_once(drive: Drive) -> None:
    result, pool, told = drive(5, {})
    assert sorted(result.made) == pool.handed == [0, 1, 2, 3, 4]
    assert sorted(told) == [(s, True) for s in range(5)]
    assert result.problems == []


def test_a_failed_shard_is_tried_again_after_the_others(drive: Drive) -> None:
    result, pool, told = drive(4, {1: [FAILED]})
    assert pool.handed == [0, 1, 2, 3, 1]
    assert sorted(result.made) == [0, 1, 2, 3]
    assert result.attempts == {1: 1}
    assert told[-1] == (1, True)


def test_a_poison_shard_is_quarantined_after_three_attempts(drive: Drive) -> None:
    result, pool, told = drive(4, {1: [FAILED] * 9})
    assert pool.handed.count(1) == ATTEMPTS == 3
    assert result.quarantined == {1: "it failed"}
    assert sorted(result.made) == [0, 2, 3]
    assert (1, False) in told
    assert result.problems == ["shard 000001 set aside after 3 attempts: it failed"]


def test_a_shard_that_was_only_held_is_not_charged(drive: Drive) -> None:
    result, pool, _ = drive(3, {1: [None] * 20})
    assert sorted(result.made) == [0, 1, 2]
    assert pool.handed.count(1) == 21
    assert result.attempts == {}


@pytest.mark.parametrize(("kind", "error"), [("request", RequestError), ("run", IncompleteError)])
def test_what_ends_the_run(kind: str, error: type[Exception], drive: Drive) -> None:
    with pytest.raises(error, match=r"^because$"):
        drive(9, {1: [Failure(kind, "because")]})  # type: ignore[arg-type]


def test_what_a_worker_logs_is_plain_and_holds_no_secret(tmp_path: Path) -> None:
    made = run(Telling(tmp_path), [0], "local", 1).made[0]
    assert made.errors == (2 * "at https://…@h/?sig=…&a=1 \\x1b[2J\\u202e\\x9b\n",)


def test_a_stage_that_is_never_set_up_is_broken(drive: Drive) -> None:
    never = {shard: [Failure("setup", "no weights")] * ATTEMPTS for shard in range(9)}
    with pytest.raises(BrokenStage, match=rf"^{SETUPS} setups failed in a row, .*: no weights$"):
        drive(9, never)


def test_a_setup_that_fails_here_and_there_is_tried_again(drive: Drive) -> None:
    result, _, _ = drive(20, {shard: [Failure("setup", "no memory")] for shard in range(1, 20)})
    assert sorted(result.made) == list(range(20))


class Made(Answers):
    """Receipts for any shard; the first has errors."""

    def get(self, shard: int, default: Any = None) -> list[StageResult | Failure | None]:
        digest = f"{shard:064x}"
        drops = {"small": 2} if shard % 2 else {}
        receipts = {
            column: Receipt(
                column, shard, 10, 10 - sum(drops.values()), 10**6, digest, digest, digest, drops=drops
            )
            for column in ("images", "color")
        }
        return [StageResult(receipts, ("bad sample",) if shard == 0 else ())]


def test_receipts_are_counted_whether_they_are_kept_or_not() -> None:
    pools = FakePool(Made()), FakePool(Made())
    kept, counted = (
        DRIVER.drive(pool, range(9), keep=keep) for pool, keep in zip(pools, (True, False), strict=True)
    )
    assert kept.samples == counted.samples == {"images": 82, "color": 82}
    assert kept.drops == counted.drops == {"images": {"small": 8}, "color": {"small": 8}}
    assert kept.problems == counted.problems == ["shard 000000: 1 sample failed, the first: bad sample"]
    assert kept.made.keys() == counted.made.keys()
    assert all(of.receipts for of in kept.made.values())
    assert not any(of.receipts for of in counted.made.values())


def test_the_driver_needs_less_than_200_bytes_for_a_shard() -> None:
    shards, pool = 20_000, FakePool(Made())
    pool.handed = deque(maxlen=1)
    tracemalloc.start()
    try:
        DRIVER.drive(pool, range(shards), keep=False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / shards < 200


def test_nothing_to_do_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DRIVER, "open_pool", lambda *_: pytest.fail("a pool was opened"))
    stage: Any = None
    assert run(stage, []).made == {}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RequestError("x"), "request"),
        (BrokenStage("x"), "run"),
        (OSError(errno.ENOSPC, "x"), "run"),
        (OSError(errno.EDQUOT, "x"), "run"),
        (OSError(errno.EROFS, "x"), "run"),
        (OSError(errno.EFBIG, "x"), "run"),
        (OSError(errno.EIO, "x"), "shard"),
        (ConnectionError("x"), "shard"),
        (DamagedShard("x"), "shard"),
        (IncompleteError("x"), "shard"),
        (ValueError("x"), "shard"),
    ],
)
def test_what_an_error_means(error: Exception, kind: str) -> None:
    assert classify(error).kind == kind
    assert "\n" not in classify(error).line


def test_a_worker_sets_up_once_and_again_only_if_that_failed(tmp_path: Path) -> None:
    worker = Worker(Stage(tmp_path, bad=(0,)))
    assert worker.run(0) == Failure("shard", "ValueError: no good")
    assert worker.run(1) == StageResult()
    assert len(list(tmp_path.glob("setup-*"))) == 1


def test_the_seconds_count_the_start_of_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which on Ray takes longer than small work."""
    module = sys.modules["t2i_shards.pipeline.engine.run"]
    clock, opened = [0.0], module.open_pool  # type: ignore[attr-defined]

    def open_slowly(*asked: Any) -> Any:
        clock[0] += 5
        return opened(*asked)

    monkeypatch.setattr(module, "open_pool", open_slowly)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    assert run(Stage(tmp_path), range(1), "local", 1).seconds == 5
