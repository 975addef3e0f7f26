"""How well people are detected."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from t2i_shards.extractors.maps.people import is_drawn

NEAR = 0.1
"""A keypoint is right if it lies within this share of the longer side of its person's box."""
LEAST_SIDE = 10.0
"""Pixels. A box is taken to be at least this large, so that one keypoint alone may be found a pixel off."""
_SAME = 0.5  # mean distance, in the same unit, over which two people are not the same


@dataclass(frozen=True)
class Found:
    """Counts over pictures: true keypoints and those of them found, true people, missed ones and invented ones."""

    keypoints: int
    right: int
    people: int
    missed: int
    invented: int

    @property
    def pck(self) -> float:
        """0..1; NaN when there is no true keypoint."""
        return self.right / self.keypoints if self.keypoints else math.nan


def measure(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Found:
    """PCK@0.1 over pictures, each given as the true people (P, 17, 3) and the found ones (Q, 17, 3).

    Strict: every labelled keypoint of every true person counts, hidden ones too; all those of a person who was
    missed are wrong; so is one whose score is too low to be drawn. The box is that of the labelled keypoints
    alone, not of the whole body. People are matched so that the mean distance is least. A true person
    without any labelled keypoint does not count.
    """
    return Found(*sum((count(true, found) for true, found in pairs), np.zeros(5, int)).tolist())


def count(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """int64 (5,), the fields of `Found`, of one picture."""
    from scipy.optimize import linear_sum_assignment

    true = true[(true[..., 2] > 0).any(1)]
    known = true[..., 2] > 0
    matched = right = 0
    if len(true) and len(found):
        near = np.linalg.norm(true[:, None, :, :2] - found[None, :, :, :2], axis=3) / _sides(true)[:, None, None]
        mean = (near * known[:, None]).sum(2) / known.sum(1)[:, None]
        for i, j in zip(*linear_sum_assignment(np.minimum(mean, 1)), strict=True):
            if mean[i, j] < _SAME:
                matched += 1
                right += int((known[i] & (near[i, j] <= NEAR) & is_drawn(found[j])).sum())
    return np.array([known.sum(), right, len(true), len(true) - matched, len(found) - matched])


def _sides(people: np.ndarray) -> np.ndarray:
    known = people[..., 2:] > 0
    low = np.where(known, people[..., :2], np.inf).min(1)
    high = np.where(known, people[..., :2], -np.inf).max(1)
    return np.asarray((high - low).max(1).clip(LEAST_SIDE))
