"""Pictures side by side, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 4
WHITE = 255
TITLE = 20
"""Height of the line of titles."""
FONT = 12


def lay_out(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = ()) -> np.ndarray:
    """uint8 (H, W, 3): a row per sample, on white, under the titles of the columns where there are any.

    Pictures: uint8 (S, S, 1 or 3), all of one size.
    """
    height, width = rows[0][0].shape[:2]
    down, across = height + GAP, width + GAP
    first = TITLE if titles else 0
    sheet = np.full((first + len(rows) * down + GAP, len(rows[0]) * across + GAP, 3), WHITE, np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            top, left = first + GAP + row * down, GAP + column * across
            sheet[top : top + height, left : left + width] = picture
    for column, title in enumerate(titles):
        left = GAP + column * across
        sheet[GAP : GAP + TITLE, left : left + width] = write_line(title, TITLE, width)
    return sheet


def write_line(text: str, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): black on white, from the left, cut where it is too long."""
    line = Image.new("RGB", (width, height), (WHITE, WHITE, WHITE))
    ImageDraw.Draw(line).text((0, 0), text, (0, 0, 0), ImageFont.load_default(FONT))
    return np.asarray(line)
