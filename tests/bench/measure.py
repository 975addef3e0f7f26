"""How things are measured: side by side in one run, in turns, the median of several."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One comparison. ours, peer: in `unit`; ratio: the median of the rounds' ratios, better above 1."""

    what: str
    unit: str
    ours: float
    peer: float | None
    ratio: float | None
    goal: str


def in_turns(
    what: str, unit: str, goal: str, ours: Callable[[], float], peer: Callable[[], float], rounds: int = ROUNDS
) -> Row:
    """Run both in turns, after one round that does not count; each gives a figure where more is better."""
    ours()
    peer()
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return Row(
        what,
        unit,
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
        goal,
    )


def rates_in_turns(
    readers: Mapping[str, Callable[[], int]], count: int, clock: Callable[[], float], rounds: int
) -> dict[str, list[float]]:
    """Samples per second of the clock, of each reader and round, after one that does not count.

    readers: each reads all `count` samples and says how many they were.
    """
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(rounds + 1):
        for name, read in readers.items():
            started = clock()
            found = read()
            if found != count:
                raise AssertionError(f"{name} gave {found} samples of {count}")
            if turn:
                rates[name].append(count / (clock() - started))
    return rates


def timed(work: Callable[[], int]) -> float:
    """Samples per second of `work`, which gives the number of samples."""
    started = time.perf_counter()
    return work() / (time.perf_counter() - started)


def cpu_seconds() -> float:
    """User and system time so far of this process and of every process below it that is alive."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | unit | ours | peer | ratio | goal |", "|---|---|---|---|---|---|"]
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer:.1f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.what} | {row.unit} | {row.ours:.1f} | {peer} | {ratio} | {row.goal} |")
    return "\n".join(lines)
