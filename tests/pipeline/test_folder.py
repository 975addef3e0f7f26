"""A folder of pictures as a source."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import Drop, RequestError
from pipeline.sources.folder import FolderSource


def png(shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((64, 80, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(["b.png", "a.JPG", "sub/c.webp", "sub/deep/d.png", "notes.md", "e.txt"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
        path.with_suffix(".txt").write_text(f" a picture called {path.stem} \n\n  another caption\n")
    return tmp_path


def test_rows_are_the_pictures_in_the_order_of_their_paths(folder: Path) -> None:
    rows = list(FolderSource(str(folder)).rows(Counter()))
    assert [row["location"] for row in rows] == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.png"]
    assert [row["key"] for row in rows] == ["000000000", "000000001", "000000002", "000000003"]
    assert rows[0]["captions"] == ["a picture called a", "another caption"]
    assert rows == list(FolderSource(str(folder)).rows(Counter()))


def test_what_a_row_opens(folder: Path) -> None:
    source = FolderSource(str(folder))
    for row in source.rows(Counter()):
        original = source.open(row)
        data = (folder / row["location"]).read_bytes()
        assert original.content == data
        assert original.captions == tuple(row["captions"])
        assert original.info == {"path": row["location"]}


@pytest.mark.parametrize("text", [None, "", "\n \n"])
def test_a_picture_without_caption_is_a_named_drop(text: str | None, folder: Path) -> None:
    (folder / "b.txt").unlink()
    if text is not None:
        (folder / "b.txt").write_text(text)
    source = FolderSource(str(folder))
    row = list(source.rows(Counter()))[1]
    assert row["captions"] == []
    with pytest.raises(Drop, match=r"^no caption$"):
        source.open(row)


def test_a_caption_may_have_any_bytes(folder: Path) -> None:
    (folder / "b.txt").write_bytes("caf\u00e9".encode("latin-1") + b"\r\nsecond\r\n")
    assert list(FolderSource(str(folder)).rows(Counter()))[1]["captions"] == ["caf\ufffd", "second"]


def test_a_picture_that_vanished_is_a_named_drop(folder: Path) -> None:
    source = FolderSource(str(folder))
    row = next(source.rows(Counter()))
    os.unlink(folder / "a.JPG")
    with pytest.raises(FileNotFoundError):
        source.open(row)


def test_a_folder_with_the_name_of_a_picture(folder: Path) -> None:
    (folder / "z.png").mkdir()
    assert "z.png" not in [row["location"] for row in FolderSource(str(folder)).rows(Counter())]


def test_no_folder_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"must be a folder of pictures, not '.*/nothing'"):
        FolderSource(str(tmp_path / "nothing"))


def test_it_is_the_same_source_from_wherever_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert (
        FolderSource(".").describe()
        == FolderSource(str(folder)).describe()
        == FolderSource(f"{folder}/sub/..").describe()
    )
