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


def lay_out(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (), captions: Sequence[str] = ()
) -> np.ndarray:
    """uint8 (H, W, 3): a row per sample, on white, under the titles of the columns where there are any.

    Pictures: uint8 (S, S, 1 or 3), all of one size. captions: right above the rows, all in the room that the
    longest needs.
    """
    height, width = rows[0][0].shape[:2]
    whole = len(rows[0]) * (width + GAP) - GAP
    first = TITLE if titles else 0
    above = TITLE * max((len(wrap_text(caption, whole)) for caption in captions), default=0)
    down, across = above + height + GAP, width + GAP
    sheet = np.full((first + len(rows) * down + GAP, whole + 2 * GAP, 3), WHITE, np.uint8)
    for row, pictures in enumerate(rows):
        top = first + GAP + row * down
        for number, line in enumerate(reversed(wrap_text(captions[row], whole) if captions else ()), 1):
            sheet[top + above - number * TITLE :][:TITLE, GAP:-GAP] = write_line(line, TITLE, whole)
        for column, picture in enumerate(pictures):
            left = GAP + column * across
            sheet[top + above : top + above + height, left : left + width] = picture
    for column, title in enumerate(titles):
        left = GAP + column * across
        sheet[GAP : GAP + TITLE, left : left + width] = write_line(title, TITLE, width)
    return sheet


def wrap_text(text: str, width: int) -> list[str]:
    """Lines of at most this many pixels, but for words that are longer."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and ImageFont.load_default(FONT).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def write_line(text: str, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): black on white, from the left, cut where it is too long."""
    line = Image.new("RGB", (width, height), (WHITE, WHITE, WHITE))
    ImageDraw.Draw(line).text((0, 0), text, (0, 0, 0), ImageFont.load_default(FONT))
    return np.asarray(line)
