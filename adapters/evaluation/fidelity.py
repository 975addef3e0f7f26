"""Condition fidelity: the condition is extracted again from the generated picture and compared with the one given.

The measures are those by which the extractors themselves are judged (`t2i_shards.extractors.metrics`); here the
given map takes the place of the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from t2i_shards.adapters.evaluation.interval import Counts
from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.registry import format_of

TOGETHER = 8


def measure_fidelity(
    condition: str, maps: Iterable[Any], pictures: Iterable[np.ndarray], extractor: Extractor
) -> dict[str, float]:
    """How far the pictures follow the condition, over all of them at once, by name of the measure.

    maps: those given, as extractors make them. pictures: uint8 (H, W, 3) of the maps' sizes. extractor: loaded.
    The measures are those of the condition's format. One that is undefined is left out, as where no map and no
    picture has an edge, or no map has anybody in it. Nothing for a condition that has no measure.
    """
    counts = count_fidelity(condition, [maps], pictures, extractor)
    return counts[0].values() if counts else {}


def count_fidelity(
    condition: str, given: Sequence[Iterable[Any]], pictures: Iterable[np.ndarray], extractor: Extractor
) -> list[Counts]:
    """What the measures are made of, of each picture, against each of the series of maps given.

    Empty for a condition that has no measure.
    """
    fidelity = format_of(condition).fidelity
    if fidelity is None:
        return []
    rows = [
        [fidelity.count(found, condition_map) for condition_map in maps]
        for found, *maps in zip(extract_again(extractor, pictures), *given, strict=True)
    ]
    return [Counts(np.stack(column), fidelity.evaluate) for column in zip(*rows, strict=True)]


def extract_again(extractor: Extractor, pictures: Iterable[np.ndarray]) -> Iterator[Any]:
    """The map of each picture; all of one size."""
    waiting = iter(pictures)
    while some := list(islice(waiting, TOGETHER)):
        yield from extractor(np.stack(some))
