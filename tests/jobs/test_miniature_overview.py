"""The miniature's overview: which scenes and conditions it shows, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.adapters.evaluation.grid import GAP, TITLE
from t2i_shards.extractors.atomic import write_file
from t2i_shards.extractors.maps import png
from t2i_shards.jobs.miniature.overview import SCENES, write_overview

SIDE = 16
VALUES = {"condition": 10, "with": 60, "without": 110, "true picture": 160}


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Five scenes; the second has nothing of the condition depth. A picture's value says which it is."""
    return [write_row(tmp_path, place, name, blank=1) for place, name in enumerate(("sketch", "depth"))]


def write_row(out: Path, offset: int, condition: str, blank: int) -> dict[str, Any]:
    shown = []
    for scene in range(5):
        files = {title: f"shown/{scene}-{title}.png" for title in VALUES}
        for title, name in files.items():
            empty = (condition, title, scene) == ("depth", "condition", blank)
            value = 0 if empty else VALUES[title] + 5 * scene + 2 * offset
            write_file(out / condition / name, png.encode_rgb(np.full((SIDE, SIDE, 3), value, np.uint8)))
        shown.append({"caption": "x", "files": files})
    return {"about": {"condition": condition}, "shown": shown}


def read_values(out: Path, columns: int) -> list[list[tuple[int, int]]]:
    """Of each scene, by column, the upper and the lower picture's value."""
    sheet = png.decode_rgb((out / "overview.png").read_bytes())
    found = []
    for row in range((sheet.shape[0] - TITLE) // (TITLE + 2 * SIDE + 2 * GAP)):
        top = TITLE + GAP + row * (TITLE + 2 * SIDE + 2 * GAP) + TITLE
        lefts = [GAP + column * (SIDE + GAP) for column in range(columns)]
        upper = [sheet[top : top + SIDE, left : left + SIDE] for left in lefts]
        lower = [sheet[top + SIDE + GAP : top + 2 * SIDE + GAP, left : left + SIDE] for left in lefts]
        assert all(picture.min() == picture.max() for picture in (*upper, *lower))
        found.append([(int(a[0, 0, 0]), int(b[0, 0, 0])) for a, b in zip(upper, lower, strict=True)])
    return found


def test_each_condition_is_above_the_picture_made_with_it(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    write_overview(tmp_path, rows)
    assert read_values(tmp_path, 3) == [
        [(160 + 5 * scene, 110 + 5 * scene), (10 + 5 * scene, 60 + 5 * scene), (12 + 5 * scene, 62 + 5 * scene)]
        for scene in (0, 2, 3)
    ]
    assert SCENES == 3


def test_the_second_time_nothing_is_written(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    write_overview(tmp_path, rows)
    written = (tmp_path / "overview.png").stat().st_mtime_ns
    write_overview(tmp_path, rows)
    assert (tmp_path / "overview.png").stat().st_mtime_ns == written
    write_overview(tmp_path, rows[:1])
    assert (tmp_path / "overview.png").stat().st_mtime_ns > written


def test_a_condition_whose_pictures_are_gone_is_left_out(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "depth" / "shown" / "4-with.png").unlink()
    write_overview(tmp_path, rows)
    assert [len(scene) for scene in read_values(tmp_path, 2)] == [2] * SCENES
    assert read_values(tmp_path, 2)[1] == [(165, 115), (15, 65)]


def test_a_record_of_no_pictures_is_left_out(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Also the first one."""
    write_overview(tmp_path, [{"about": {"condition": "sketch"}}, rows[1]])
    assert [len(scene) for scene in read_values(tmp_path, 2)] == [2] * SCENES


@pytest.mark.parametrize("gone", [True, False])
def test_without_anything_to_show_there_is_none(gone: bool, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    if gone:
        (tmp_path / "sketch" / "shown" / "0-with.png").unlink()
    write_overview(tmp_path, rows[:1] if gone else [])
    assert not (tmp_path / "overview.png").exists()
