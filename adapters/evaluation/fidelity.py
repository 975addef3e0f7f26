"""Obedience: the condition is extracted again from the generated picture and held against the one given.

The measures are those of the extractors themselves (`extractors.metrics`); here the given map takes the place of
the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from extractors.base import Extractor
from extractors.maps.people import People, is_drawn
from extractors.metrics.keypoints import measure
from extractors.metrics.maps import abs_rel, color_error, edge_f1, mean_iou, thin

HIGHER = {"edge_f1", "pck", "miou"}
"""Measures of which more is better; of the others less is."""
NEAREST, FARTHEST = 1.0, 10.0
"""A depth map tells no metres. It is read as if its white were 1 m away and its black 10 m."""
TOGETHER = 8


def measure_obedience(
    condition: str, maps: Iterable[Any], pictures: Iterable[np.ndarray], extractor: Extractor
) -> dict[str, float]:
    """How far the pictures obey, over all of them at once, by name of the measure.

    maps: those given, as extractors make them. pictures: uint8 (H, W, 3) of the maps' sizes. extractor: loaded.
    sketch, canny: edge_f1. depth: abs_rel. seg: miou. color: color_error. keypose: pck, and how many people were
    given and found. A measure that is undefined is left out: edge_f1 where no map and no picture has an edge, pck
    where no map has anybody in it. Nothing for a condition that has no measure.
    """
    if condition not in MEASURES:
        return {}
    found = MEASURES[condition](extract_again(extractor, pictures), maps)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def extract_again(extractor: Extractor, pictures: Iterable[np.ndarray]) -> Iterator[Any]:
    """The map of each picture; all of one size."""
    waiting = iter(pictures)
    while some := list(islice(waiting, TOGETHER)):
        yield from extractor(np.stack(some))


def _lines(found: Iterable[np.ndarray], given: Iterable[np.ndarray]) -> dict[str, float]:
    return {"edge_f1": edge_f1(found, (thin(map) for map in given))}


def _depth(found: Iterable[np.ndarray], given: Iterable[np.ndarray]) -> dict[str, float]:
    return {"abs_rel": abs_rel(found, (to_distance(map) for map in given))}


def _labels(found: Iterable[np.ndarray], given: Iterable[np.ndarray]) -> dict[str, float]:
    return {"miou": mean_iou(found, given)}


def _colors(found: Iterable[np.ndarray], given: Iterable[np.ndarray]) -> dict[str, float]:
    return {"color_error": color_error(found, given)}


def _people(found: Iterable[People], given: Iterable[People]) -> dict[str, float]:
    counts = measure((_drawn(there), seen.keypoints) for seen, there in zip(found, given, strict=True))
    people = {
        "people_given": float(counts.people),
        "people_found": float(counts.people - counts.missed + counts.invented),
    }
    return {"pck": counts.pck, **people} if counts.keypoints else people


def to_distance(map: np.ndarray) -> np.ndarray:
    """uint8 depth map, which is linear in the inverse of the distance -> metres, float64."""
    near, far = 1 / NEAREST, 1 / FARTHEST
    return np.asarray(1 / (far + (near - far) * map.astype(np.float64) / 255))


def _drawn(people: People) -> np.ndarray:
    """The keypoints that are to be seen in the drawing; others become unknown, people without any are left out."""
    points = people.keypoints.copy()
    points[~is_drawn(points), 2] = 0
    return np.asarray(points[(points[..., 2] > 0).any(axis=1)])


MEASURES: dict[str, Callable[[Iterable[Any], Iterable[Any]], dict[str, float]]] = {
    "sketch": _lines,
    "canny": _lines,
    "depth": _depth,
    "keypose": _people,
    "seg": _labels,
    "color": _colors,
}
