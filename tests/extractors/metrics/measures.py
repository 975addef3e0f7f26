"""The measures of a set of maps, each summed over its pairs and then taken of the sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from t2i_shards.extractors.metrics.maps import (
    count_abs_rel,
    count_colors,
    count_edges,
    count_labels,
    f1_of,
    iou_of,
    mean_of,
)

Maps = Iterable[np.ndarray]
Count = Callable[[np.ndarray, np.ndarray], np.ndarray]


def add_counts(count: Count, maps: Maps, truths: Maps) -> np.ndarray:
    """The sum of `count` over all pairs; zeros (0,) for no pairs."""
    counts = [count(condition_map, truth) for condition_map, truth in zip(maps, truths, strict=True)]
    return np.asarray(sum(counts[1:], counts[0])) if counts else np.zeros(0)


def edge_f1(maps: Maps, truths: Maps) -> float:
    return f1_of(add_counts(count_edges, maps, truths))


def abs_rel(maps: Maps, depths: Maps) -> float:
    return mean_of(add_counts(count_abs_rel, maps, depths))


def mean_iou(maps: Maps, truths: Maps) -> float:
    return iou_of(add_counts(count_labels, maps, truths))


def color_error(maps: Maps, truths: Maps) -> float:
    return mean_of(add_counts(count_colors, maps, truths))
