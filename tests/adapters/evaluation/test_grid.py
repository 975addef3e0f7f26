"""Sheets: where pictures, titles and captions are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from t2i_shards.adapters.evaluation.grid import FONT, GAP, TITLE, lay_out, wrap_text

PICTURES = [[np.full((32, 40, 3), 10 * (row * 3 + column), np.uint8) for column in range(3)] for row in range(2)]


@pytest.mark.parametrize(("long", "lines"), [("a red cube", 1), ("a red cube on the grass under a grey sky", 2)])
def test_captions_lie_above_their_rows_and_titles_above_all(long: str, lines: int) -> None:
    plain, above = lay_out(PICTURES), lines * TITLE
    sheet = lay_out(PICTURES, ("one", "two", "three"), ("a", long))
    assert sheet.shape == (plain.shape[0] + TITLE + 2 * above, plain.shape[1], 3)
    tops = [TITLE + GAP + row * (above + 32 + GAP) for row in range(2)]
    for row, top in enumerate(tops):
        for column, picture in enumerate(PICTURES[row]):
            left = GAP + column * (40 + GAP)
            assert (sheet[top + above : top + above + 32, left : left + 40] == picture).all()
    rooms = [sheet[top : top + above] < 128 for top in tops]
    short, last = (room[-TITLE:].any(axis=(0, 2)).nonzero()[0] for room in rooms)
    assert 0 < np.ptp(short) < 12
    assert not rooms[0][:-TITLE].any(), "the short one is right above its row"
    first = rooms[1][:TITLE].any(axis=(0, 2)).nonzero()[0]
    assert first.max() > 40 + GAP, "it may be wider than a column"
    assert last.any()


def test_lines_are_as_wide_as_they_may_be_and_lose_no_word() -> None:
    text = "a person in a pink shirt and white trousers to the left of an unbelievablylongword"
    lines = wrap_text(text, 100)
    assert " ".join(lines) == text
    widths = [ImageFont.load_default(FONT).getlength(line) for line in lines]
    assert all(width <= 100 for width, line in zip(widths, lines, strict=True) if " " in line)
    assert len(lines) == 5
    assert wrap_text("", 100) == []
