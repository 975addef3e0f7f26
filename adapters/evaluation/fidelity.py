"""Condition fidelity: the condition is extracted again from the generated picture and held against the one given.

The measures are those by which the extractors themselves are judged (`extractors.metrics`); here the given map
takes the place of the truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from extractors.base import Extractor
from extractors.metrics.maps import add_counts
from extractors.registry import format_of

TOGETHER = 8


def measure_fidelity(
    condition: str, maps: Iterable[Any], pictures: Iterable[np.ndarray], extractor: Extractor
) -> dict[str, float]:
    """How far the pictures follow the condition, over all of them at once, by name of the measure.

    maps: those given, as extractors make them. pictures: uint8 (H, W, 3) of the maps' sizes. extractor: loaded.
    The measures are those of the condition's format. One that is undefined is left out, as where no map and no
    picture has an edge, or no map has anybody in it. Nothing for a condition that has no measure.
    """
    fidelity = format_of(condition).fidelity
    if fidelity is None:
        return {}
    found = fidelity.evaluate(add_counts(fidelity.count, extract_again(extractor, pictures), maps))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def extract_again(extractor: Extractor, pictures: Iterable[np.ndarray]) -> Iterator[Any]:
    """The map of each picture; all of one size."""
    waiting = iter(pictures)
    while some := list(islice(waiting, TOGETHER)):
        yield from extractor(np.stack(some))
