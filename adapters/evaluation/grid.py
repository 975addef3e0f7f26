"""Pictures side by side, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GAP = 4
WHITE = 255


def lay_out(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """uint8 (H, W, 3): a row per sample, on white. Pictures: uint8 (S, S, 1 or 3), all of one size."""
    height, width = rows[0][0].shape[:2]
    down, across = height + GAP, width + GAP
    sheet = np.full((len(rows) * down + GAP, len(rows[0]) * across + GAP, 3), WHITE, np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            top, left = GAP + row * down, GAP + column * across
            sheet[top : top + height, left : left + width] = picture
    return sheet
