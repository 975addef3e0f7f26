"""The geometry of the loss curve, in pixels, for the page's SVG and for the picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from t2i_shards.extractors.maps.statistics import ClassStatistic, NumberStatistic, Statistic
from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.report.sample_stats import PIXELS, SCORE_BINS, SIDES, Bin, Tally
from t2i_shards.pipeline.report.training import Points, TrainingFacts

FEWEST_BARS = 8
"""Bins around what was counted are shown too, so that one bar does not fill the plot."""
MOST_SIZES, MOST_CLASSES = 12, 30
WIDTH, HEIGHT, BOTTOM = 400, 132, 112
TICKS = 6

MOST_POINTS = 400
"""More points than this make a line no clearer: neighbours are averaged."""

Line = tuple[tuple[float, float], ...]
Tick = tuple[float, str]


@dataclass(frozen=True)
class Bar:
    """One bar. share: of the longest one, 0 to 1. said: its count and what else is known, in words."""

    label: str
    count: int
    share: float
    said: str = ""


@dataclass(frozen=True)
class Bars:
    """Named bars below each other. note: how many there are in all."""

    title: str
    note: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Histogram:
    """Adjacent bins. ticks: (x in pixels of WIDTH, label) of some of their edges."""

    title: str
    total: int
    middle: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]

    @property
    def step(self) -> float:
        """Pixels from one bar to the next."""
        return WIDTH / len(self.bars)


def draw_numbers(tally: Tally) -> tuple[list[Histogram], list[Bars]]:
    """All that was counted, column by column; nothing for a measure that no sample has."""
    histograms = [
        lay_out_bins(title, counts, bins, name, edge)
        for measure, title, bins, name, edge in (
            ("original", "Originals' short side", len(SIDES) + 1, _name_side, _edge_of_side),
            ("aesthetic", "Aesthetic score", None, _name_score, lambda i: f"{i / SCORE_BINS:g}"),
        )
        for _, counts in tally.of(measure)
    ]
    bars = [_sizes(counts) for _, counts in tally.of("stored")]
    for usual, statistic in list_statistics().items():
        found = list(tally.of(statistic.name))
        for column, counts in found:
            title = statistic.title if [column] == [usual] * len(found) else f"{statistic.title} ({column})"
            if isinstance(statistic, NumberStatistic):
                histograms.append(lay_out_bins(title, counts, statistic.bins, statistic.label, statistic.edge))
            else:
                bars.append(
                    _classes(title, statistic, counts, tally.counts[PIXELS.format(statistic.name), column])
                )
    return histograms, bars


def list_statistics() -> dict[str, Statistic]:
    """condition -> what is counted of it; of conditions that are counted alike the first."""
    found: dict[str, Statistic] = {}
    for condition, form in formats().items():
        if form.statistic and form.statistic.name not in {statistic.name for statistic in found.values()}:
            found[condition] = form.statistic
    return found


def lay_out_bins(
    title: str,
    counts: Counter[Bin],
    bins: int | None,
    name: Callable[[int], str],
    edge: Callable[[int], str] | None,
) -> Histogram:
    """The bins from the lowest to the highest that was counted, and a few around them.

    bins: there are so many, from 0; None when they extend both ways. name: of a bin. edge: the name of a bin's
    lower edge, for the axis; None where bins are whole numbers and named below their middle.
    """
    found = {number: count for (number,), count in counts.items()}
    floor = min(0, *found)
    low, high = floor if edge is None else min(found), max(found) + 1
    low = max(floor, low - max(0, FEWEST_BARS - (high - low)) // 2)
    high = max(high, low + FEWEST_BARS)
    if bins is not None and high > bins:
        low, high = max(0, low - (high - bins)), bins
    most = max(found.values())
    bars = tuple(Bar(name(i), found.get(i, 0), found.get(i, 0) / most) for i in range(low, high))
    every = -(-len(bars) // TICKS)
    step, shift = WIDTH / len(bars), 0.5 if edge is None else 0.0
    last = len(bars) if edge is None else len(bars) + 1
    named = edge or name
    ticks = tuple((round((i + shift) * step, 1), named(low + i)) for i in range(0, last, every))
    return Histogram(title, sum(found.values()), name(median(found)), bars, ticks)


def median(counts: dict[int, int]) -> int:
    """The bin in which the middle one lies (the lower of two)."""
    half, before = (sum(counts.values()) + 1) // 2, 0
    for number in sorted(counts):
        before += counts[number]
        if before >= half:
            return number
    raise ValueError("nothing was counted")


def _sizes(counts: Counter[Bin]) -> Bars:
    """Stored sizes, the most frequent first, with their aspect."""
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    bars = [
        Bar(f"{w} × {h}", n, n / ranked[0][1], f"{n:,}, {100 * n / total:.1f} %, aspect {w / h:.2f}")
        for (w, h), n in ranked[:MOST_SIZES]
    ]
    return Bars("Stored sizes", _of_all(len(bars), len(ranked), "size", "sizes"), tuple(bars))


def _classes(title: str, statistic: ClassStatistic, counts: Counter[Bin], pixels: Counter[Bin]) -> Bars:
    """Classes by the pictures that show them, the most frequent first, with their share of all pixels."""
    area, ranked = sum(pixels.values()), sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    bars = [
        Bar(
            statistic.label(v),
            n,
            n / ranked[0][1],
            f"{number_of(n, 'picture', ',')}, {100 * pixels[v,] / area:.1f} % of pixels",
        )
        for (v,), n in ranked[:MOST_CLASSES]
    ]
    return Bars(title, _of_all(len(bars), len(ranked), "class", "classes"), tuple(bars))


def _of_all(shown: int, there: int, one: str, many: str) -> str:
    if shown < there:
        return f"the {shown} most frequent of {there} {many}"
    return f"{there} {one if there == 1 else many}"


def _name_side(number: int) -> str:
    if number == 0:
        return f"under {SIDES[0]} px"
    return f"{SIDES[-1]} px or more" if number == len(SIDES) else f"{SIDES[number - 1]} to {SIDES[number] - 1} px"


def _edge_of_side(number: int) -> str:
    return "0" if number == 0 else str(SIDES[number - 1]) if number <= len(SIDES) else "more"


def _name_score(number: int) -> str:
    return f"{number / SCORE_BINS:g} to {(number + 1) / SCORE_BINS:g}"


@dataclass(frozen=True)
class Chart:
    """A plot area from (left, top) to (right, bottom) of a canvas; y grows downwards. Ticks: (pixel, label)."""

    width: int
    height: int
    left: int
    top: int
    right: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    loss: Line
    validation: Line


def lay_out(training: TrainingFacts, width: int, height: int, margins: tuple[int, int, int, int]) -> Chart | None:
    """The curve on a canvas of this size, None when nothing was logged. margins: left, top, right, bottom."""
    loss, validation = average(training.loss), average(training.validation)
    values = [v for _, v in loss + validation]
    if not values:
        return None
    left, top, right, bottom = margins[0], margins[1], width - margins[2], height - margins[3]
    first, last = min(s for s, _ in loss + validation), max(s for s, _ in loss + validation)
    y_ticks = nice_ticks(*_range([v for _, v in loss], [v for _, v in validation]), 5)
    low, high = y_ticks[0], y_ticks[-1]

    def x(step: float) -> float:
        return round(left + (step - first) / max(1, last - first) * (right - left), 1)

    def y(value: float) -> float:
        return round(bottom - (min(max(value, low), high) - low) / (high - low) * (bottom - top), 1)

    x_ticks = [t for t in nice_ticks(first, max(last, first + 1), 6) if first <= t <= last and t == int(t)]
    return Chart(
        width=width,
        height=height,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        x_ticks=tuple((x(t), f"{int(t):,}") for t in x_ticks),
        y_ticks=tuple((y(t), f"{t:.{_decimals(y_ticks)}f}") for t in y_ticks),
        loss=tuple((x(s), y(v)) for s, v in loss),
        validation=tuple((x(s), y(v)) for s, v in validation),
    )


def average(points: Points) -> list[tuple[float, float]]:
    """The points, or means of equally many neighbours when there are more than MOST_POINTS."""
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)] if points else []
    return [(sum(s for s, _ in g) / len(g), sum(v for _, v in g) / len(g)) for g in groups]


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten, from at or below `low` to at or above `high`."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _decimals(ticks: list[float]) -> int:
    return max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))


def _range(loss: list[float], validation: list[float]) -> tuple[float, float]:
    """Without the highest hundredth of the training loss: one spike must not flatten the rest. Never empty."""
    usual = sorted(loss)[: max(1, math.ceil(0.99 * len(loss)))] + validation
    low, high = min(usual), max(usual)
    return (low, high) if high > low else (low - 0.5, low + 0.5)
