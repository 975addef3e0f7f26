"""How near maps are to the exact truth, over all pictures of a set at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from skimage.morphology import skeletonize

TOLERANCE = 2.0
"""Pixels that an edge may lie from the true one."""
FARTHEST = 80.0
"""Metres; MiDaS measures KITTI with this cap. What is farther, such as the sky, counts neither in the fit nor in
the error, and no pixel is estimated farther than this."""


def edge_f1(maps: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> float:
    """F1 of outlines: uint8 maps (H, W) above 127 and thinned to one pixel, against true outlines one pixel wide.

    Precision is the share of found pixels with a true one within `TOLERANCE`, recall the share of true pixels with
    a found one; pixels of all pictures are counted together.
    """
    right = found = met = there = 0
    for map, truth in zip(maps, truths, strict=True):
        edge, line = skeletonize(map > 127), truth > 127
        right += int((edge & _near(line)).sum())
        met += int((line & _near(edge)).sum())
        found, there = found + int(edge.sum()), there + int(line.sum())
    precision, recall = right / max(found, 1), met / there
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _near(line: np.ndarray) -> np.ndarray:
    away = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= TOLERANCE) & line.any()


def abs_rel(maps: Iterable[np.ndarray], depths: Iterable[np.ndarray]) -> float:
    """Affine-invariant AbsRel: the mean over pictures of the mean of |depth - truth| / truth.

    maps: any scale (H, W), greater is nearer. depths: metres (H, W). As MiDaS is measured (Ranftl et al., TPAMI
    2022, section 6): scale and shift of the inverse depth are fitted by least squares for each picture, then
    inverted. The scale may not be negative, because near is white is part of what a map means.
    """
    errors = []
    for map, depth in zip(maps, depths, strict=True):
        valid = depth <= FARTHEST
        truth = depth[valid].astype(np.float64)
        x, y = map[valid].astype(np.float64), 1 / truth
        spread = x.var()
        scale = max(float(((x - x.mean()) * (y - y.mean())).mean() / spread), 0.0) if spread else 0.0
        inverse = np.maximum(scale * (x - x.mean()) + y.mean(), 1 / FARTHEST)
        errors.append(float((np.abs(1 / inverse - truth) / truth).mean()))
    return float(np.mean(errors))


def mean_iou(maps: Iterable[np.ndarray], truths: Sequence[np.ndarray]) -> float:
    """Intersection over union of each class that the truths hold, over all pixels of the set; then the mean."""
    counts = np.zeros((256, 256), np.int64)
    for map, truth in zip(maps, truths, strict=True):
        counts += np.bincount(truth.ravel() * np.intp(256) + map.ravel(), minlength=65536).reshape(256, 256)
    hit, present = np.diag(counts), counts.sum(axis=1) > 0
    union = counts.sum(axis=0) + counts.sum(axis=1) - hit
    return float((hit[present] / union[present]).mean())
