"""Progress of a job over shards: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

from t2i_shards.pipeline.engine.run import Progress
from t2i_shards.pipeline.sources.base import Seen
from t2i_shards.pipeline.stages.stage import StageResult

if TYPE_CHECKING:
    from t2i_shards.pipeline.runlog import LogLine


PACE_EVERY = 20
"""Steps over which the bar's pace is taken."""


class Pace:
    """How fast it goes, over the steps since it was last asked."""

    def __init__(self) -> None:
        self._first: LogLine | None = None
        self._last: LogLine | None = None
        self._waited = 0.0

    def add(self, line: LogLine) -> None:
        if self._first is None:
            self._first = line
        else:
            self._waited += line.wait
        self._last = line

    def take(self) -> str:
        """steps/s, the share of the time that was spent waiting for data, memory; "" before the second step."""
        first, last, waited = self._first, self._last, self._waited
        self._first, self._waited = last, 0.0
        if first is None or last is None or last.step <= first.step or last.seconds <= first.seconds:
            return ""
        seconds = last.seconds - first.seconds
        parts = [f"{(last.step - first.step) / seconds:.2f} steps/s", f"{waited / seconds:.0%} waiting for data"]
        if last.memory:
            parts.append(f"{last.memory / 1e9:.1f} GB of GPU memory")
        return ", ".join(parts)


@contextmanager
def show_steps(steps: int) -> Iterator[Callable[[LogLine], None]]:
    """A progress callback for a training of so many steps in all."""
    yield from _show_bar(steps) if sys.stderr.isatty() else _show_lines(steps)


def _show_bar(steps: int) -> Iterator[Callable[[LogLine], None]]:
    with tqdm(total=steps, desc="train", unit="step", leave=False) as bar:
        pace, validation = Pace(), ""

        def advance(line: LogLine) -> None:
            nonlocal validation
            if not bar.n:
                bar.initial = bar.n = line.step  # where an earlier command stopped: not done at today's pace
            bar.update(line.step - bar.n)
            pace.add(line)
            if line.validation is not None:
                validation = f"validation loss {line.validation:.4f}"
            if line.validation is not None or line.step % PACE_EVERY == 0:
                bar.set_postfix_str(", ".join(filter(None, (validation, pace.take()))))

        yield advance


def _show_lines(steps: int) -> Iterator[Callable[[LogLine], None]]:
    pace = Pace()

    def advance(line: LogLine) -> None:
        pace.add(line)
        if line.validation is not None:
            said = f"train: step {line.step} of {steps}, validation loss {line.validation:.4f}"
            print(", ".join(filter(None, (said, pace.take()))), file=sys.stderr, flush=True)

    yield advance


LINE_EVERY = 15.0
"""Seconds between two lines where there is no terminal."""
REFRESH = 1.0
"""Seconds between two looks at how far a plan is."""


@contextmanager
def show_progress(verb: str, shards: int, total: int) -> Iterator[Progress]:
    """A progress callback for `shards` shards that are left of `total`."""
    if not sys.stderr.isatty():
        yield _lines(verb, shards, total)
        return
    with tqdm(total=total, initial=total - shards, desc=verb, unit="shard", leave=False) as bar:

        def advance(shard: int, made: StageResult | None) -> None:
            bar.update()
            if made is None:
                bar.write(f"{verb}: shard {shard:06d} set aside", file=sys.stderr)

        yield advance


def _lines(verb: str, shards: int, total: int) -> Progress:
    done, samples, started = total - shards, 0, time.monotonic()
    said = started

    def advance(shard: int, made: StageResult | None) -> None:
        nonlocal done, samples, said
        done += 1
        if made is not None:
            samples += max((receipt.samples for receipt in made.receipts.values()), default=0)
        if time.monotonic() - said > LINE_EVERY:
            said = time.monotonic()
            rate = samples / (said - started)
            print(f"{verb}: {done} of {total} shards, {rate:.1f} samples/s", file=sys.stderr, flush=True)

    return advance


@contextmanager
def show_planning() -> Iterator[Seen]:
    """A callback for the number of rows that were read to make a plan. Before the first one large lists are
    measured, and the time is shown too."""
    over, rows, started = threading.Event(), 0, time.monotonic()

    def add(count: int) -> None:
        nonlocal rows
        rows += count

    def show() -> None:
        if terminal:
            bar.update(rows - bar.n)
            bar.refresh()
        else:
            seconds = time.monotonic() - started
            print(f"plan: {rows} rows read in {seconds:.0f} s", file=sys.stderr, flush=True)

    def keep_showing() -> None:
        while not over.wait(REFRESH if terminal else LINE_EVERY):
            show()

    terminal = sys.stderr.isatty()
    with tqdm(desc="plan", unit="row", leave=False, disable=not terminal) as bar:
        thread = threading.Thread(target=keep_showing, daemon=True)
        thread.start()
        try:
            yield add
        finally:
            over.set()
            thread.join()


@contextmanager
def show_pictures(verb: str) -> Iterator[Callable[[int, int], None]]:
    """A progress callback for the number of pictures done, and of all."""
    if sys.stderr.isatty():
        with tqdm(desc=verb, unit="picture", leave=False) as bar:

            def advance(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield advance
    else:
        yield _picture_lines(verb)


def _picture_lines(verb: str) -> Callable[[int, int], None]:
    started = said = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if done == total or now - said > LINE_EVERY:
            said, rate = now, done / max(now - started, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if done < total else ""
            print(f"{verb}: {done} of {total} pictures, {rate:.1f} pictures/s{left}", file=sys.stderr, flush=True)

    return advance
