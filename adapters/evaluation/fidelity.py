"""Condition fidelity: the condition is extracted again from the generated picture and compared with the one given.

The measures are those by which the extractors themselves are judged (`t2i_shards.extractors.metrics`); here the
given map takes the place of the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import cv2
import numpy as np

from t2i_shards.adapters.evaluation.interval import Counts
from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.format import Format
from t2i_shards.extractors.registry import format_of

TOGETHER = 8
Extract = Callable[[np.ndarray], Sequence[Any]]
"""uint8 (N, H, W, 3) -> the map of each picture: a loaded extractor, or what wraps it."""


def measure_fidelity(
    condition: str, maps: Iterable[Any], pictures: Iterable[np.ndarray], extractor: Extract
) -> dict[str, float]:
    """How far the pictures follow the condition, over all of them at once, by name of the measure.

    maps: those given, as extractors make them. pictures: uint8 (H, W, 3) of the maps' sizes. extractor: loaded.
    The measures are those of the condition's format. One that is undefined is left out, as where no map and no
    picture has an edge, or no map has anybody in it. Nothing for a condition that has no measure.
    """
    counts = count_fidelity(condition, [maps], pictures, extractor)
    return counts[0].values() if counts else {}


def count_fidelity(
    condition: str, given: Sequence[Iterable[Any]], pictures: Iterable[np.ndarray], extractor: Extract
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


def extract_again(extractor: Extract, pictures: Iterable[np.ndarray]) -> Iterator[Any]:
    """The map of each picture; all of one size."""
    waiting = iter(pictures)
    while some := list(islice(waiting, TOGETHER)):
        yield from extractor(np.stack(some))


def enlarge_for(extractor: Extractor, side: int | None) -> Extract:
    """The extractor, which sees square pictures smaller than `side` pixels enlarged to it; maps are of their size.

    Networks that were trained on larger pictures do not know the size of things in smaller ones.
    """

    def extract(pictures: np.ndarray) -> list[Any]:
        own = pictures.shape[1]
        if side is None or side <= own:
            return list(extractor(pictures))
        larger = [enlarge(picture, side) for picture in pictures]
        return [_resize(extractor.format, found, own) for found in extractor(np.stack(larger))]

    return extract


def enlarge(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (side, side, 3)."""
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)


def _resize(form: Format, condition_map: Any, side: int) -> Any:
    if form.is_numeric:
        return form.place(condition_map, (side, side), (slice(0, side), slice(0, side)))
    return cv2.resize(condition_map, (side, side), interpolation=cv2.INTER_NEAREST)
