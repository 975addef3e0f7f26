"""The driver: which shard is tried next, how often, and when to stop. The same for every pool."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from t2i_shards.pipeline.engine.leases import LeasePool
from t2i_shards.pipeline.engine.metrics import RunMetrics
from t2i_shards.pipeline.engine.pool import Failure, Pool
from t2i_shards.pipeline.engine.running import Running
from t2i_shards.pipeline.errors import BrokenStage, IncompleteError, RequestError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.stages.stage import Stage, StageResult

log = logging.getLogger(__name__)

Engine = Literal["ray", "local"]
ATTEMPTS = 3
SETUPS = 10
"""Failed setups, with no shard made so far, after which the stage is broken and not a worker."""

Progress = Callable[[int, StageResult | None], None]
"""Called with a shard and what was made of it, or None when it was set aside."""

Follow = Callable[[int], Iterable[int]]
"""Called with a shard that was made: gives the roll-ups that it allows, which the stage makes before other shards.

Their numbers are below zero. They are no shards: each is tried once, and neither counted nor in the result.
"""


@runtime_checkable
class WatchesSamples(Protocol):
    """A progress callback that is also told how far the shards under way are."""

    def show_under_way(self, samples: int) -> None:
        """So many samples are done of the shards in progress."""


_WHOLE = StageResult()


@dataclass
class RunResult:
    """What a run came to. made: shard -> receipts and errors. quarantined: shard -> why, after 3 attempts.

    deaths: shards over which a worker has died. keep: without it the receipts are counted and not kept, so that a
    shard takes about 100 bytes instead of some thousand.
    """

    made: dict[int, StageResult] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    attempts: Counter[int] = field(default_factory=Counter)
    deaths: set[int] = field(default_factory=set)
    setups: int = 0
    seconds: float = 0.0
    keep: bool = True
    samples: Counter[str] = field(default_factory=Counter, init=False)
    """Samples per column."""
    drops: dict[str, Counter[str]] = field(default_factory=dict, init=False)
    """Drops per column and reason."""

    def __post_init__(self) -> None:
        for shard, result in list(self.made.items()):
            self.add(shard, result)

    def add(self, shard: int, result: StageResult) -> None:
        """Count a shard that was made."""
        for column, receipt in result.receipts.items():
            self.samples[column] += receipt.samples
            self.drops.setdefault(column, Counter()).update(receipt.drops)
        if not self.keep:
            result = StageResult(errors=result.errors) if result.errors else _WHOLE
        self.made[shard] = result

    def extend(self, later: RunResult) -> None:
        """Add what a later run of the same stage came to, over other shards."""
        self.made |= later.made
        self.quarantined |= later.quarantined
        self.deaths |= later.deaths
        self.attempts.update(later.attempts)
        self.samples.update(later.samples)
        for column, drops in later.drops.items():
            self.drops.setdefault(column, Counter()).update(drops)
        self.setups += later.setups
        self.seconds += later.seconds

    @property
    def problems(self) -> list[str]:
        """A line for each shard that is not whole: set aside, or with samples on which the stage raised."""
        lines = [
            f"shard {s:06d} set aside after {ATTEMPTS} attempts: {why}" for s, why in self.quarantined.items()
        ]
        lines += [
            f"shard {s:06d}: {number_of(len(made.errors), 'sample')} failed, the first: {made.errors[0]}"
            for s, made in sorted(self.made.items())
            if made.errors
        ]
        return lines


def open_pool(stage: Stage, engine: Engine, workers: int | None, shards: int) -> Pool:
    """A pool of at most `workers`, by default as many as the cores (of the machine, or the cluster) carry."""
    if workers is not None and workers < 1:
        raise RequestError(f"--workers must be at least 1, not {workers}")
    if engine == "local":
        from t2i_shards.pipeline.engine.local import LocalPool

        return LocalPool(stage, min(workers or len(os.sched_getaffinity(0)), shards))
    from t2i_shards.pipeline.engine.nodes import count_slots, describe_needs
    from t2i_shards.pipeline.engine.ray import RayCluster

    count_slots(stage)
    most = min(workers or shards, shards)
    return LeasePool(RayCluster(stage), most, workers is not None, describe_needs(stage.resources))


def run(
    stage: Stage,
    shards: Iterable[int],
    engine: Engine = "ray",
    workers: int | None = None,
    progress: Progress | None = None,
    keep: bool = True,
    follow: Follow | None = None,
) -> RunResult:
    """Do the stage for every shard, each at most 3 times. keep: see RunResult. follow: see Follow.

    Raises RequestError when a worker finds the request wrong, and IncompleteError when the run cannot continue
    (a full disk, a broken stage): what is done stays done.
    """
    waiting = deque(shards)
    if not waiting:
        return RunResult()
    started = time.monotonic()
    pool = open_pool(stage, engine, workers, len(waiting))
    watch = progress.show_under_way if isinstance(progress, WatchesSamples) else None
    if isinstance(pool, LeasePool):
        progress = RunMetrics(len(waiting)).follow(progress)
    result = drive(pool, waiting, progress, keep=keep, watch=watch, follow=follow)
    # Starting a Ray may take longer than the work.
    result.seconds = time.monotonic() - started
    return result


def drive(
    pool: Pool,
    shards: Iterable[int],
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
    keep: bool = True,
    watch: Callable[[int], None] | None = None,
    follow: Follow | None = None,
) -> RunResult:
    """Do all shards on a pool, and close it.

    clock: seconds. keep: see RunResult. watch: called with the samples that are done of the shards under way.
    follow: see Follow.
    """
    waiting, result, running = deque(shards), RunResult(keep=keep), Running(clock)
    started = clock()
    try:
        while waiting or running:
            while waiting and pool.free:
                running.begin(shard := waiting.popleft())
                pool.submit(shard, careful=shard in result.deaths)
            while not waiting and pool.idle and (late := running.find_straggler()) is not None:
                running.begin(late)
                pool.submit(late, careful=late in result.deaths)
            events = pool.wait()
            if watch:
                watch(pool.under_way)
            for shard in pool.begun:
                running.start_clock(shard)
            for event in events:
                if not running.end(event.shard, isinstance(event.result, StageResult)):
                    continue  # another copy of the shard has been made or is under way
                if event.result is None:
                    waiting.appendleft(event.shard)
                elif event.shard < 0:
                    if isinstance(event.result, Failure):
                        log.warning("a roll-up is left for the end of the run: %s", event.result.line)
                elif isinstance(event.result, StageResult):
                    result.add(event.shard, event.result)
                    if follow:
                        waiting.extendleft(follow(event.shard))
                    if progress:
                        progress(event.shard, event.result)
                elif _failed(event.shard, event.result, result):
                    waiting.append(event.shard)
                elif progress:
                    progress(event.shard, None)
    finally:
        pool.close()
        result.seconds = clock() - started
    return result


def _failed(shard: int, failure: Failure, result: RunResult) -> bool:
    """True when the shard is to be tried again."""
    if failure.kind == "request":
        raise RequestError(failure.line)
    result.setups += failure.kind == "setup"
    if failure.kind == "run":
        before = f"; set aside before: {number_of(len(result.quarantined), 'shard')}" if result.quarantined else ""
        raise IncompleteError(failure.line + before)
    if result.setups >= SETUPS and not result.made:
        raise BrokenStage(f"{SETUPS} setups failed in a row, so the stage is broken; the last: {failure.line}")
    if failure.kind == "death":
        result.deaths.add(shard)
    result.attempts[shard] += 1
    if result.attempts[shard] < ATTEMPTS:
        return True
    result.quarantined[shard] = failure.line
    return False
