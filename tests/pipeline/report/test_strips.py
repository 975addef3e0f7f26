"""Strips: each sample's pictures side by side in one file, in a folder that is only replaced when it is ours."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.report.samples import Cell, SheetRow
from t2i_shards.pipeline.report.strips import (
    MARK,
    MARK_TEXT,
    encode_strip,
    fits,
    folder_of,
    is_ours,
    replace_strips,
    write_files,
)

RED = np.full((64, 96, 3), (200, 0, 0), np.uint8)
GREY = np.full((64, 96), 90, np.uint8)


ADDED = ["remove-d1.txt", "d1/remove-d1.txt", "d1/000012/notes.txt", "d1/mine/a.webp", "d1/000012/README.txt"]
"""Files that somebody may have put into such a folder."""


def open_strip(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_pictures_lie_side_by_side_at_one_size_and_what_is_missing_is_black() -> None:
    cells = Cell("images", RED), Cell("sketch", None, "dropped"), Cell("depth", GREY), Cell("color", RED[:8, :12])
    strip = open_strip(encode_strip(SheetRow("a", "", 96, 64, cells)))
    assert strip.shape == (64, 4 * 96, 3)
    for at, colour in enumerate([(200, 0, 0), (0, 0, 0), (90, 90, 90), (200, 0, 0)]):
        middle = strip[16:48, at * 96 + 16 : at * 96 + 80].reshape(-1, 3).astype(int)
        assert np.abs(middle - colour).max() <= 12


def test_a_large_picture_is_brought_inside_the_limits_with_its_aspect() -> None:
    wide = np.zeros((512, 1024, 3), np.uint8)
    assert open_strip(encode_strip(SheetRow("a", "", 1024, 512, (Cell("images", wide),)))).shape == (192, 384, 3)


def test_strips_appear_whole_and_replace_those_of_before(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "my.page.html")
    assert folder.name == "my.page_files"
    with replace_strips(folder) as scratch:
        write_files(scratch / "d1", {"000012/a.webp": b"1", "000012/b.webp": b"2"})
        assert not folder.exists()
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.*")} == {
        MARK, "d1/000012/a.webp", "d1/000012/b.webp"
    }  # fmt: skip
    with pytest.raises(KeyError), replace_strips(folder) as scratch:
        raise KeyError
    assert (folder / "d1/000012/a.webp").read_bytes() == b"1"
    with replace_strips(folder):
        pass
    assert [path.name for path in folder.iterdir()] == [MARK]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("kind", ["nothing", "file", "folder", "link", "other mark", *ADDED])
def test_only_a_folder_that_a_report_made_is_ours(kind: str, tmp_path: Path) -> None:
    ours = tmp_path / "ours_files"
    with replace_strips(ours):
        pass
    assert is_ours(ours)
    folder = tmp_path / "report_files"
    match kind:
        case "file":
            folder.write_bytes(MARK_TEXT)
        case "folder":
            folder.mkdir()
        case "link":
            folder.symlink_to(ours)
        case "other mark":
            folder.mkdir()
            (folder / MARK).write_text("My pictures")
        case _ if kind in ADDED:
            with replace_strips(folder) as scratch:
                write_files(scratch / "d1", {"000012/a.webp": b"1", "000012/samples-0.js": b"2"})
            assert is_ours(folder)
            (folder / kind).parent.mkdir(exist_ok=True)
            (folder / kind).write_text("mine")
    assert not is_ours(folder)


def test_keys_that_are_no_file_name_get_no_strip() -> None:
    assert fits("000012")
    assert not fits("../../etc/passwd")
    assert not fits("a" * 300)
