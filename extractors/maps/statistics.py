"""What a report counts of a condition's maps, and how the bars of its plots are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

_BINS = 100  # from no edge at all to nothing but edge
_THRESHOLD = 127  # above it is an edge: `u8 > 127` is `edge >= 0.5`, where the published sketch adapter cut


@dataclass(frozen=True)
class NumberStatistic:
    """A whole number from 0 to below `bins`, measured of each map: a histogram.

    name: conditions that share it share the title. measure: map -> number. label: the name of a number's bar.
    edge: the name of the lower edge of its bin; None where the bins are the numbers themselves.
    """

    name: str
    title: str
    bins: int
    measure: Callable[[Any], int]
    label: Callable[[int], str]
    edge: Callable[[int], str] | None = None


@dataclass(frozen=True)
class ClassStatistic:
    """The classes that a map shows: bars, the most frequent first.

    name, title: as of a NumberStatistic. measure: map -> class -> pixels. label: the name of a class.
    """

    name: str
    title: str
    measure: Callable[[Any], Mapping[int, int]]
    label: Callable[[int], str]


Statistic: TypeAlias = NumberStatistic | ClassStatistic


def _edge_density(condition_map: np.ndarray) -> int:
    edges = condition_map > _THRESHOLD
    return min(_BINS * int(edges.sum()) // edges.size, _BINS - 1)


EDGE_DENSITY = NumberStatistic(
    "edges",
    "Edge density",
    _BINS,
    _edge_density,
    lambda number: f"{100 * number // _BINS} to {100 * (number + 1) // _BINS} %",
    lambda number: f"{100 * number // _BINS} %",
)
"""The share of the pixels of an edge map, uint8 (H, W), that are edges."""
