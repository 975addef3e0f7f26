"""Where people are found, by their keypoints: in a picture, and in the same picture shifted."""

from __future__ import annotations

import numpy as np

from t2i_shards.extractors.base import Extractor
from t2i_shards.pipeline.scenes import render

HELD_OUT = 2_000_000
"""Seed of scenes that no training draws from."""


def moved(extractor: Extractor, right: int, down: int) -> np.ndarray:
    """Pixels that keypoints move, (N, 17, 2), when parts of scenes with one person move on a canvas.

    Both canvases have the size at which the network sees them as they are. Of scenes in which one person is found
    both times; on a canvas, because the network sees how far the picture reaches.
    """
    steps = []
    for index in range(60):
        scene = render(HELD_OUT, index)
        points = scene.people.keypoints
        known = points[points[..., 2] > 0]
        if len(points) != 1 or np.ptp(known[:, :2], axis=0).max() > 120:
            continue
        left, top = ((known[:, :2].min(0) + known[:, :2].max(0)) / 2 - 72).clip(0, 112).astype(int)
        part = scene.picture[top : top + 144, left : left + 144]
        canvas = np.full((2, 256, 256, 3), 114, np.uint8)
        canvas[0, 32 : 32 + 144, 32 : 32 + 144] = part
        canvas[1, 32 + down : 32 + down + 144, 32 + right : 32 + right + 144] = part
        here, there = (people.keypoints[..., :2] for people in extractor(canvas))
        if len(there) == len(here) == 1:
            steps.append((there - here)[0])
    return np.array(steps)
