"""Progress of a training: a bar on a terminal, elsewhere a line for each validation and now and then one more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

from t2i_shards.jobs.messages import shows_bars, terminal
from t2i_shards.jobs.progress import PART, describe_left
from t2i_shards.jobs.repeat import repeat

if TYPE_CHECKING:
    from t2i_shards.pipeline.runlog import LogLine

STEPS_EVERY = 60.0
"""Seconds between two lines where there is no terminal: a training takes hours."""
PACE_EVERY = 20
"""Steps over which the bar's pace is taken."""


class Pace:
    """The speed over the steps since the last call."""

    def __init__(self) -> None:
        self._first: LogLine | None = None
        self._last: LogLine | None = None
        self._waited = 0.0

    def add(self, line: LogLine) -> None:
        self._waited += line.wait if self._first else 0.0
        self._first, self._last = self._first or line, line

    def take(self, steps: int) -> str:
        """steps/s, the share of the time that was spent waiting for data, memory, and how long so many steps take.

        "" before the second step.
        """
        first, last, waited = self._first, self._last, self._waited
        self._first, self._waited = last, 0.0
        if first is None or last is None or last.step <= first.step or last.seconds <= first.seconds:
            return ""
        seconds = last.seconds - first.seconds
        parts = [f"{(last.step - first.step) / seconds:.2f} steps/s", f"{waited / seconds:.0%} waiting for data"]
        if last.memory:
            parts.append(f"{last.memory / 1e9:.1f} GB of GPU memory")
        if steps > last.step:
            parts.append(describe_left((steps - last.step) * seconds / (last.step - first.step)))
        return ", ".join(parts)


@contextmanager
def show_steps(steps: int) -> Iterator[Callable[[LogLine], None]]:
    """A progress callback for a training of so many steps in all."""
    yield from _show_bar(steps) if shows_bars() else _show_lines(steps)


def _show_bar(steps: int) -> Iterator[Callable[[LogLine], None]]:
    with tqdm(total=steps, desc=f"{PART.get()}train", unit="step", leave=False) as bar:
        pace, validation = Pace(), ""

        def advance(line: LogLine) -> None:
            nonlocal validation
            if not bar.n:
                bar.initial = bar.n = line.step  # where an earlier command stopped: not part of this run's pace
            bar.update(line.step - bar.n)
            pace.add(line)
            if line.validation is not None:
                validation = f"validation loss {line.validation:.4f}"
            if line.validation is not None or line.step % PACE_EVERY == 0:
                bar.set_postfix_str(", ".join(filter(None, (validation, pace.take(steps)))))

        yield advance


def _show_lines(steps: int) -> Iterator[Callable[[LogLine], None]]:
    """A line for each validation, and one now and then between them."""
    name, pace, last = f"{PART.get()}train", Pace(), None

    def say(line: LogLine, found: str) -> None:
        terminal.info(", ".join(filter(None, (f"{name}: step {line.step} of {steps}", found, pace.take(steps)))))

    def advance(line: LogLine) -> None:
        nonlocal last
        last = line
        pace.add(line)
        terminal.debug(f"{name}: step {line.step} of {steps}, loss {line.loss}, learning rate {line.lr}")
        if line.validation is not None:
            say(line, f"validation loss {line.validation:.4f}")

    def show() -> None:
        if last is not None:
            say(last, "" if last.loss is None else f"loss {last.loss:.4f}")

    with repeat(show, STEPS_EVERY):
        yield advance
