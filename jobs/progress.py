"""Progress of a job: a bar on a terminal, and elsewhere a line now and then, also while nothing is finished."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial

from tqdm import tqdm

from t2i_shards.jobs.messages import shows_bars, terminal
from t2i_shards.jobs.repeat import repeat
from t2i_shards.pipeline.engine.run import Progress
from t2i_shards.pipeline.plain import format_duration, number_of
from t2i_shards.pipeline.sources.base import Seen
from t2i_shards.pipeline.stages.stage import StageResult

LINE_EVERY = 15.0
"""Seconds between two lines where there is no terminal."""
REFRESH = 1.0
"""Seconds between two looks of a bar at the clock."""
PART: ContextVar[str] = ContextVar("part", default="")
"""What `part_of` puts before the name of a command."""


@contextmanager
def part_of(command: str, number: int, of: int) -> Iterator[None]:
    """Name what is shown in the block as part `number` of a command: "demo 3 of 9, extract"."""
    token = PART.set(f"{PART.get()}{command} {number} of {of}, ")
    try:
        yield
    finally:
        PART.reset(token)


def describe_left(seconds: float) -> str:
    """20 s left, 3 min left, 1.5 h left"""
    return f"{format_duration(seconds)} left"


@dataclass
class ShardProgress:
    """How far a job over shards is. before: those that were done when it began, of `total`.

    with_drops: whether the receipts that come are new ones, so that their drops are news.
    """

    total: int
    before: int = 0
    with_drops: bool = False
    done: int = 0
    samples: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    last: float = 0.0

    def add(self, made: StageResult | None) -> None:
        """Count a shard: what was made of it, or None where it was set aside."""
        self.done += 1
        self.last = time.monotonic()
        if made is not None:
            self.samples += max((receipt.samples for receipt in made.receipts.values()), default=0)
            for receipt in made.receipts.values() if self.with_drops else ():
                self.drops.update(receipt.drops)

    def describe(self) -> str:
        """11,800 samples, 37 dropped (http 404 30, too small 7), 85.3 samples/s; "" before a shard is done."""
        parts = [number_of(self.samples, "sample", ",")] if self.samples else []
        if self.drops:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.drops.most_common(3))
            more = ", …" if len(self.drops) > 3 else ""
            parts.append(f"{self.drops.total():,} dropped ({reasons}{more})")
        if self.samples and self.last > self.started:
            parts.append(f"{self.samples / (self.last - self.started):.1f} samples/s")
        return ", ".join(parts)

    def describe_all(self) -> str:
        """12 of 40 shards after 60 s, what `describe` says, 3 min left"""
        now = time.monotonic()
        done = f"{self.before + self.done:,} of {number_of(self.total, 'shard', ',')}"
        parts = [f"{done} after {now - self.started:.0f} s"]
        left = self.total - self.before - self.done
        if self.done and left:
            pace = (self.last - self.started) / self.done
            parts += [self.describe(), describe_left(max(0.0, left * pace - (now - self.last)))]
        else:
            parts.append(self.describe())
        return ", ".join(filter(None, parts))


@contextmanager
def show_progress(verb: str, shards: int, total: int, with_drops: bool = False) -> Iterator[Progress]:
    """A progress callback for `shards` shards that are left of `total`. with_drops: see `ShardProgress`."""
    name, count = PART.get() + verb, ShardProgress(total, total - shards, with_drops)
    if not shows_bars():
        with repeat(lambda: terminal.info(f"{name}: {count.describe_all()}"), LINE_EVERY):
            yield partial(_count_shard, name, count)
        return
    with tqdm(total=total, initial=total - shards, desc=name, unit="shard", leave=False) as bar:

        def advance(shard: int, made: StageResult | None) -> None:
            count.add(made)
            bar.set_postfix_str(count.describe(), refresh=False)
            bar.update()
            if made is None:
                bar.write(f"{name}: shard {shard:06d} set aside", file=sys.stderr)

        with repeat(bar.refresh, REFRESH):
            yield advance


def _count_shard(name: str, count: ShardProgress, shard: int, made: StageResult | None) -> None:
    count.add(made)
    for column, receipt in (made.receipts if made else {}).items():
        terminal.debug(
            f"{name}: shard {shard:06d}, {column}: {number_of(receipt.samples, 'sample')} of {receipt.planned}"
        )


@contextmanager
def show_planning() -> Iterator[Seen]:
    """A callback for the number of rows that were read to make a plan. Before the first one large lists are
    measured, and the time is shown too."""
    name, rows, started = PART.get() + "plan", 0, time.monotonic()
    bars = shows_bars()

    def add(count: int) -> None:
        nonlocal rows
        rows += count

    def show() -> None:
        if bars:
            bar.update(rows - bar.n)
            bar.refresh()
        else:
            terminal.info(f"{name}: {number_of(rows, 'row')} read in {time.monotonic() - started:.0f} s")

    with (
        tqdm(desc=name, unit="row", leave=False, disable=not bars) as bar,
        repeat(show, REFRESH if bars else LINE_EVERY),
    ):
        yield add


@contextmanager
def show_pictures(verb: str) -> Iterator[Callable[[int, int], None]]:
    """A progress callback for the number of pictures done, and of all."""
    name = PART.get() + verb
    if shows_bars():
        with tqdm(desc=name, unit="picture", leave=False) as bar, repeat(bar.refresh, REFRESH):

            def advance(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield advance
        return
    lines = _PictureLines(name)
    with repeat(lines.show, LINE_EVERY):
        yield lines.advance


class _PictureLines:
    """A line now and then, and one for the last picture."""

    def __init__(self, name: str) -> None:
        self._name, self._started = name, time.monotonic()
        self._done = self._total = 0
        self._last, self._said = self._started, False

    def advance(self, done: int, total: int) -> None:
        self._done, self._total, self._last = done, total, time.monotonic()
        if done == total:
            self.show()

    def show(self) -> None:
        now = time.monotonic()
        if not self._done:
            terminal.info(f"{self._name}: no picture after {now - self._started:.0f} s")
            return
        if self._said:
            terminal.info(
                f"{self._name}: {number_of(self._total, 'picture')}, measured for {now - self._last:.0f} s"
            )
            return
        self._said = self._done == self._total
        rate = self._done / max(self._last - self._started, 1e-9)
        pace = f"{rate:.1f}" if rate >= 1 else f"{rate:.2f}"
        left = f", {describe_left((self._total - self._done) / rate)}" if self._done < self._total else ""
        terminal.info(
            f"{self._name}: {self._done} of {number_of(self._total, 'picture')}, {pace} pictures/s{left}"
        )
