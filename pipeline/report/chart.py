"""The geometry of the loss curve, in pixels, for the page's SVG and for the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.report.training import Points, Training

MOST_POINTS = 400
"""More points than this make a line no clearer: neighbours are averaged."""

Line = tuple[tuple[float, float], ...]
Tick = tuple[float, str]


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


def lay_out(training: Training, width: int, height: int, margins: tuple[int, int, int, int]) -> Chart | None:
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
