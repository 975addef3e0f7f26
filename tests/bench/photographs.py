"""Photographs that scikit-image carries, cut to one size."""

from __future__ import annotations

import cv2
import numpy as np


def draw_photograph(number: int, size: int) -> np.ndarray:
    """uint8 (size, size, 3) RGB: the middle of one of four; from the fifth on mirrored, and so on."""
    from skimage import data

    picture = (data.astronaut, data.chelsea, data.coffee, data.rocket)[number % 4]()
    side = min(picture.shape[:2])
    top, left = ((whole - side) // 2 for whole in picture.shape[:2])
    cut = picture[top : top + side, left : left + side][:, :: (-1) ** (number // 4)]
    return np.asarray(cv2.resize(np.ascontiguousarray(cut), (size, size), interpolation=cv2.INTER_AREA))


def photographs(count: int, size: int) -> list[np.ndarray]:
    """The first so many."""
    return [draw_photograph(number, size) for number in range(count)]
