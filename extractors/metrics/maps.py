"""How close maps are to the truth, over all pictures of a set at once; keypoints: see `keypoints.py`.

Each measure is a function of sums over the pictures, so that it can be taken of any selection of them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from t2i_shards.extractors.maps.coco_classes import UNLABELLED

TOLERANCE = 2.0
"""Pixels that an edge may lie from the true one."""
FARTHEST = 80.0
"""Metres; MiDaS measures KITTI with this cap. What is farther, such as the sky, counts neither in the fit nor in
the error, and no pixel is estimated farther than this."""


def count_edges(condition_map: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int64 (4,): found pixels that are right, found pixels, true pixels that were found, true pixels.

    condition_map: uint8 (H, W); what is above 127 is thinned to one pixel. truth: outlines one pixel wide. A pixel
    is right, or was found, when one of the other map lies within `TOLERANCE`.
    """
    edge, line = thin(condition_map) > 0, truth > 127
    return np.array([(edge & _near(line)).sum(), edge.sum(), (line & _near(edge)).sum(), line.sum()])


def f1_of(counts: np.ndarray) -> float:
    """F1 of the sum of `count_edges`; NaN when nothing is found where nothing is."""
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


def count_abs_rel(condition_map: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """float64 (2,): the picture's affine-invariant AbsRel, the mean of |depth - truth| / truth, and 1.

    condition_map: any scale (H, W), greater is nearer. depth: metres (H, W). As MiDaS is measured (Ranftl et al.,
    TPAMI 2022, section 6): scale and shift of the inverse depth are fitted by least squares for each picture, then
    inverted. The scale may not be negative, because near is white is part of what a map means. Zeros for a picture
    in which everything is too far away.
    """
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


def count_labels(condition_map: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int64 (768,): pixels of each class that are right, that were found, and that there are.

    Pixels that the truth leaves unlabelled (255) do not count.
    """
    labelled = truth != UNLABELLED
    found, there = condition_map[labelled], truth[labelled]
    return np.concatenate([np.bincount(of, minlength=256) for of in (there[found == there], found, there)])


def iou_of(counts: np.ndarray) -> float:
    """The mean IoU of the classes that occur in the truth, of the sum of `count_labels`; NaN when none does."""
    if not counts.any():
        return math.nan
    right, found, there = counts.reshape(3, 256)
    present = there > 0
    return float((right[present] / (found + there - right)[present]).mean()) if present.any() else math.nan


def count_colors(condition_map: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 (2,): the sum of |map - truth| / 255 over two uint8 (h, w, 3), and how many values there are."""
    return np.array([np.abs(condition_map.astype(np.int64) - truth).sum() / 255, truth.size])
