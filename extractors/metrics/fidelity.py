"""Condition fidelity: how far a picture follows its condition, measured on the map extracted again from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from t2i_shards.extractors.metrics.maps import count_edges, f1_of, thin


@dataclass(frozen=True)
class Measure:
    """A column of the table of an evaluation. name: in its JSON. better: None for a count, a whole number."""

    name: str
    title: str
    better: Literal["higher", "lower"] | None


@dataclass(frozen=True)
class Fidelity:
    """How pictures that follow a condition are distinguished from others.

    measures: the first says how far it is followed. count: (map found in a picture, map it was to follow) ->
    numbers (D,), added up over the pictures. evaluate: their sum -> each measure by name, NaN where undefined.
    """

    measures: tuple[Measure, ...]
    count: Callable[[Any, Any], np.ndarray]
    evaluate: Callable[[np.ndarray], Mapping[str, float]]


EDGE_FIDELITY = Fidelity(
    (Measure("edge_f1", "edge F1 (2 px)", "higher"),),
    lambda found, given: count_edges(found, thin(given)),
    lambda sums: {"edge_f1": f1_of(sums)},
)
"""Of any uint8 map (H, W) whose edges are above 127."""
