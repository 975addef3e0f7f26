"""Histograms of a tally: which bars there are, how they are named, and where they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from extractors.coco_classes import COCO_STUFF
from pipeline.report.measures import EDGE_BINS, MOST_PERSONS, SCORE_BINS, SIDES, Bin
from pipeline.report.tally import Tally

FEWEST_BARS = 8
"""Bins around what was counted are shown too, so that one bar does not fill the plot."""
MOST_SIZES, MOST_LABELS = 12, 30
WIDTH, HEIGHT, BOTTOM = 400, 132, 112
TICKS = 6


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
    """Bins beside each other. ticks: (x in pixels of WIDTH, label) of some of their edges."""

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
        *_each(tally, "original", "Originals' short side", len(SIDES) + 1, _name_side, _edge_of_side),
        *_each(tally, "aesthetic", "Aesthetic score", None, _name_score, lambda i: f"{i / SCORE_BINS:g}"),
        *_each(tally, "persons", "Persons in a picture", MOST_PERSONS + 1, _name_persons, None),
        *_each(tally, "edges", "Edge density", EDGE_BINS, _name_edges, lambda i: f"{100 * i // EDGE_BINS} %"),
    ]
    bars = [_sizes(counts) for _, counts in tally.of("stored")]
    bars += [
        _labels(_of(column, "seg"), counts, tally.counts["pixels", column])
        for column, counts in tally.of("labels")
    ]
    return histograms, bars


def _each(
    tally: Tally,
    measure: str,
    title: str,
    bins: int | None,
    name: Callable[[int], str],
    edge: Callable[[int], str] | None,
) -> Iterable[Histogram]:
    usual = {"persons": "keypose", "edges": "sketch"}.get(measure, "images")
    for column, counts in tally.of(measure):
        yield lay_out_bins(f"{title}{_of(column, usual)}", counts, bins, name, edge)


def _of(column: str, usual: str) -> str:
    """The column is named where it is not the one that this measure is usually of."""
    return "" if column == usual else f" ({column})"


def lay_out_bins(
    title: str,
    counts: Counter[Bin],
    bins: int | None,
    name: Callable[[int], str],
    edge: Callable[[int], str] | None,
) -> Histogram:
    """The bins from the lowest to the highest that was counted, and a few around them.

    bins: there are so many, from 0; None when they go on both ways. name: of a bin. edge: the name of a bin's
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


def _labels(column: str, counts: Counter[Bin], pixels: Counter[Bin]) -> Bars:
    """Classes by the pictures that show them, the most frequent first, with their share of all pixels."""
    area, ranked = sum(pixels.values()), sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    bars = [
        Bar(label_name(v), n, n / ranked[0][1], f"{n:,} pictures, {100 * pixels[v,] / area:.1f} % of pixels")
        for (v,), n in ranked[:MOST_LABELS]
    ]
    return Bars(f"Labels{column}", _of_all(len(bars), len(ranked), "class", "classes"), tuple(bars))


def _of_all(shown: int, there: int, one: str, many: str) -> str:
    if shown < there:
        return f"the {shown} most frequent of {there} {many}"
    return f"{there} {one if there == 1 else many}"


def label_name(value: int) -> str:
    """The name of a label map's pixel value."""
    return COCO_STUFF[value] if value < len(COCO_STUFF) else "unlabelled" if value == 255 else f"value {value}"


def _name_side(number: int) -> str:
    if number == 0:
        return f"under {SIDES[0]} px"
    return f"{SIDES[-1]} px or more" if number == len(SIDES) else f"{SIDES[number - 1]} to {SIDES[number] - 1} px"


def _edge_of_side(number: int) -> str:
    return "0" if number == 0 else str(SIDES[number - 1]) if number <= len(SIDES) else "more"


def _name_score(number: int) -> str:
    return f"{number / SCORE_BINS:g} to {(number + 1) / SCORE_BINS:g}"


def _name_persons(number: int) -> str:
    return f"{number}+" if number == MOST_PERSONS else str(number)


def _name_edges(number: int) -> str:
    return f"{100 * number // EDGE_BINS} to {100 * (number + 1) // EDGE_BINS} %"
