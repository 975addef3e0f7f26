"""Progress of a command: a bar on a terminal, and elsewhere a line now and then, also while nothing is finished.

A command of several stages numbers them: "ingest 2 of 6, pictures". What is shown of jobs over shards is in
`shard_progress.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

from t2i_shards.jobs.messages import shows_bars, terminal
from t2i_shards.jobs.repeat import repeat
from t2i_shards.pipeline.plain import format_duration, number_of
from t2i_shards.pipeline.sources.base import Seen

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


@contextmanager
def show_waiting(what: str) -> Iterator[None]:
    """Show the time that the block takes, of which nothing can be counted."""
    name, started = PART.get() + what, time.monotonic()
    if not shows_bars():
        with repeat(lambda: terminal.info(f"{name}: {time.monotonic() - started:.0f} s so far"), LINE_EVERY):
            yield
        return
    with tqdm(desc=name, bar_format="{desc}: {elapsed}", leave=False) as bar, repeat(bar.refresh, REFRESH):
        yield


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
def show_pictures(verb: str, measured: bool = False) -> Iterator[Callable[[float, int], None]]:
    """A progress callback for the number of pictures done, those under way in part, and of all.

    measured: whether they are measured once all are done, which takes its time too.
    """
    name = PART.get() + verb
    if shows_bars():
        with tqdm(desc=name, unit="picture", leave=False) as bar, repeat(bar.refresh, REFRESH):

            def advance(done: float, total: int) -> None:
                bar.total, bar.n = total, round(done, 2)
                bar.update(0)

            yield advance
        return
    lines = _PictureLines(name, measured)
    with repeat(lines.show, LINE_EVERY):
        yield lines.advance


class _PictureLines:
    """A line now and then, and one for the last picture."""

    def __init__(self, name: str, measured: bool) -> None:
        self._name, self._started = name, time.monotonic()
        self._measured = measured
        self._done, self._total = 0.0, 0
        self._last, self._said = self._started, False

    def advance(self, done: float, total: int) -> None:
        self._done, self._total, self._last = done, total, time.monotonic()
        if done == total:
            self.show()

    def show(self) -> None:
        now = time.monotonic()
        if not self._done:
            terminal.info(f"{self._name}: no picture after {now - self._started:.0f} s")
            return
        if self._said:
            if self._measured:
                made = number_of(self._total, "picture")
                terminal.info(f"{self._name}: {made}, measured for {now - self._last:.0f} s")
            return
        self._said = self._done == self._total
        rate = self._done / max(self._last - self._started, 1e-9)
        pace = f"{rate:.1f}" if rate >= 1 else f"{rate:.2f}"
        left = f", {describe_left((self._total - self._done) / rate)}" if self._done < self._total else ""
        done = f"{round(self._done, 2):g} of {number_of(self._total, 'picture')}"
        terminal.info(f"{self._name}: {done}, {pace} pictures/s{left}")
