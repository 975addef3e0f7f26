"""How close maps are to the truth, over all pictures of a set at once; keypoints: see `keypoints.py`.

Each measure is a function of sums over the pictures, so that it can be taken of any selection of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

from t2i_shards.extractors.maps.palette import UNLABELLED

TOLERANCE = 2.0
"""Pixels that an edge may lie from the true one."""
FARTHEST = 80.0
"""Metres; MiDaS measures KITTI with this cap. What is farther, such as the sky, counts neither in the fit nor in
the error, and no pixel is estimated farther than this."""


def add_counts(count: Callable[[Any, Any], np.ndarray], maps: Iterable[Any], truths: Iterable[Any]) -> np.ndarray:
    """The sum of `count` over all pairs; zeros (0,) for no pairs."""
    counts = [count(condition_map, truth) for condition_map, truth in zip(maps, truths, strict=True)]
    return np.asarray(sum(counts[1:], counts[0])) if counts else np.zeros(0)


def edge_f1(maps: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> float:
    """F1 of outlines: uint8 maps (H, W) above 127 and thinned to one pixel, against true outlines one pixel wide.

    Precision is the share of found pixels with a true one within `TOLERANCE`, recall the share of true pixels with
    a found one; pixels of all pictures are counted together. NaN when nothing is found where nothing is.
    """
    return f1_of(add_counts(count_edges, maps, truths))


def count_edges(condition_map: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int64 (4,): found pixels that are right, found pixels, true pixels that were met, true pixels."""
    edge, line = thin(condition_map) > 0, truth > 127
    return np.array([(edge & _near(line)).sum(), edge.sum(), (line & _near(edge)).sum(), line.sum()])


def f1_of(counts: np.ndarray) -> float:
    """Of the sum of `count_edges`."""
    right, found, met, there = counts.tolist() or [0] * 4
    if not found and not there:
        return math.nan
    precision, recall = right / max(found, 1), met / max(there, 1)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def thin(condition_map: np.ndarray) -> np.ndarray:
    """uint8 (H, W): what is above 127, thinned to lines one pixel wide of 255."""
    from skimage.morphology import skeletonize  # takes a second, with the half of scipy that it wants

    return np.where(skeletonize(condition_map > 127), np.uint8(255), np.uint8(0))


def _near(line: np.ndarray) -> np.ndarray:
    away = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= TOLERANCE) & line.any()


def abs_rel(maps: Iterable[np.ndarray], depths: Iterable[np.ndarray]) -> float:
    """Affine-invariant AbsRel: the mean over pictures of the mean of |depth - truth| / truth.

    maps: any scale (H, W), greater is nearer. depths: metres (H, W). As MiDaS is measured (Ranftl et al., TPAMI
    2022, section 6): scale and shift of the inverse depth are fitted by least squares for each picture, then
    inverted. The scale may not be negative, because near is white is part of what a map means. A picture in which
    everything is too far away does not count; NaN when that is all of them.
    """
    return mean_of(add_counts(count_abs_rel, maps, depths))


def count_abs_rel(condition_map: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """float64 (2,): the picture's AbsRel and 1, or zeros where it does not count."""
    valid = depth <= FARTHEST
    if not valid.any():
        return np.zeros(2)
    truth = depth[valid].astype(np.float64)
    x, y = condition_map[valid].astype(np.float64), 1 / truth
    spread = x.var()
    scale = max(float(((x - x.mean()) * (y - y.mean())).mean() / spread), 0.0) if spread else 0.0
    inverse = np.maximum(scale * (x - x.mean()) + y.mean(), 1 / FARTHEST)
    return np.array([(np.abs(1 / inverse - truth) / truth).mean(), 1.0])


def mean_of(counts: np.ndarray) -> float:
    """Of a sum and a number of terms."""
    total, count = counts.tolist() or [0, 0]
    return float(total / count) if count else math.nan


def mean_iou(maps: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> float:
    """Intersection over union of each class that the truths hold, over all pixels of the set; then the mean.

    Pixels that the truth leaves unlabelled (255) do not count; NaN when it labels none.
    """
    return iou_of(add_counts(count_labels, maps, truths))


def count_labels(condition_map: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int64 (768,): pixels of each class that are right, that were found, and that there are."""
    labelled = truth != UNLABELLED
    found, there = condition_map[labelled], truth[labelled]
    return np.concatenate([np.bincount(of, minlength=256) for of in (there[found == there], found, there)])


def iou_of(counts: np.ndarray) -> float:
    """Of the sum of `count_labels`."""
    if not counts.any():
        return math.nan
    right, found, there = counts.reshape(3, 256)
    present = there > 0
    return float((right[present] / (found + there - right)[present]).mean()) if present.any() else math.nan


def color_error(maps: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> float:
    """Mean over all cells of the set of |map - truth| / 255, 0..1; NaN for an empty set.

    uint8 (h, w, 3) RGB each.
    """
    return mean_of(add_counts(count_colors, maps, truths))


def count_colors(condition_map: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 (2,): the sum of |map - truth| / 255, and how many values there are."""
    return np.array([np.abs(condition_map.astype(np.int64) - truth).sum() / 255, truth.size])
