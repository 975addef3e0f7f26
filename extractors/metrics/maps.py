"""How near maps are to the truth, over all pictures of a set at once; keypoints: see `keypoints.py`."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np

from extractors.maps.palette import UNLABELLED

TOLERANCE = 2.0
"""Pixels that an edge may lie from the true one."""
FARTHEST = 80.0
"""Metres; MiDaS measures KITTI with this cap. What is farther, such as the sky, counts neither in the fit nor in
the error, and no pixel is estimated farther than this."""


def edge_f1(maps: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> float:
    """F1 of outlines: uint8 maps (H, W) above 127 and thinned to one pixel, against true outlines one pixel wide.

    Precision is the share of found pixels with a true one within `TOLERANCE`, recall the share of true pixels with
    a found one; pixels of all pictures are counted together. NaN when nothing is found where nothing is.
    """
    right = found = met = there = 0
    for map, truth in zip(maps, truths, strict=True):
        edge, line = thin(map) > 0, truth > 127
        right += int((edge & _near(line)).sum())
        met += int((line & _near(edge)).sum())
        found, there = found + int(edge.sum()), there + int(line.sum())
    if not found and not there:
        return math.nan
    precision, recall = right / max(found, 1), met / max(there, 1)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def thin(map: np.ndarray) -> np.ndarray:
    """uint8 (H, W): what is above 127, thinned to lines one pixel wide of 255."""
    from skimage.morphology import skeletonize  # takes a second, with the half of scipy that it wants

    return np.where(skeletonize(map > 127), np.uint8(255), np.uint8(0))


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
    errors = []
    for map, depth in zip(maps, depths, strict=True):
        valid = depth <= FARTHEST
        if not valid.any():
            continue
        truth = depth[valid].astype(np.float64)
        x, y = map[valid].astype(np.float64), 1 / truth
        spread = x.var()
        scale = max(float(((x - x.mean()) * (y - y.mean())).mean() / spread), 0.0) if spread else 0.0
        inverse = np.maximum(scale * (x - x.mean()) + y.mean(), 1 / FARTHEST)
        errors.append(float((np.abs(1 / inverse - truth) / truth).mean()))
    return float(np.mean(errors)) if errors else math.nan


def mean_iou(maps: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> float:
    """Intersection over union of each class that the truths hold, over all pixels of the set; then the mean.

    Pixels that the truth leaves unlabelled (255) do not count; NaN when it labels none.
    """
    counts = np.zeros((256, 256), np.int64)
    for map, truth in zip(maps, truths, strict=True):
        labelled = truth != UNLABELLED
        pairs = truth[labelled] * np.intp(256) + map[labelled]
        counts += np.bincount(pairs, minlength=65536).reshape(256, 256)
    hit, present = np.diag(counts), counts.sum(axis=1) > 0
    union = counts.sum(axis=0) + counts.sum(axis=1) - hit
    return float((hit[present] / union[present]).mean()) if present.any() else math.nan


def color_error(maps: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> float:
    """Mean over all cells of the set of |map - truth| / 255, 0..1; NaN for an empty set.

    uint8 (h, w, 3) RGB each.
    """
    total = count = 0
    for map, truth in zip(maps, truths, strict=True):
        total += int(np.abs(map.astype(np.int64) - truth).sum())
        count += truth.size
    return total / count / 255 if count else math.nan
