"""Captions of a folder: in text files in any capitals, with another ending, or in its metadata."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.tree import RemoteTree
from tests.pipeline.sources.test_folder import png


@pytest.mark.parametrize("picture", ["c.JPG", "sub/c.JPG"])
@pytest.mark.parametrize("caption", ["c.txt", "C.TXT", "c.Txt", "c.JPG.txt", "c.jpg.TXT"])
def test_captions_are_found_in_any_capitals(picture: str, caption: str, tmp_path: Path) -> None:
    path = tmp_path / picture
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png())
    (path.parent / caption).write_text("a cat")
    left_out = LeftOut()
    assert [row.captions for row in FolderSource(str(tmp_path)).rows(left_out)] == [("a cat",)]
    assert not left_out


def test_two_pictures_may_differ_in_capitals_alone(tmp_path: Path) -> None:
    for name in ("a", "A"):
        (tmp_path / f"{name}.png").write_bytes(png())
        (tmp_path / f"{name}.txt").write_text(f"this is {name}")
    rows = {row.location: row.captions for row in FolderSource(str(tmp_path)).rows(LeftOut())}
    assert rows == {"a.png": ("this is a",), "A.png": ("this is A",)}


@pytest.mark.parametrize(
    ("extension", "text", "found"),
    [
        (".caption", "kohya", ("kohya",)),
        (".CAPTION", "kohya", ("kohya",)),
        (".json", '{"caption": "one"}', ("one",)),
        (".json", '{"text": ["one", " ", "two\\nlines"], "score": 3}', ("one", "two lines")),
        (".json", '{"score": 3}', "no caption"),
        (".json", "[1]", "no caption"),
        (".json", "{", "caption not readable"),
        (".json", '{"text": "\\ud800"}', "caption not readable"),
    ],
)
def test_caption_files_may_have_another_ending(extension: str, text: str, found: object, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / f"a{extension.lower()}").write_text(text)
    (tmp_path / "a.txt").write_text("not this one")
    row = next(FolderSource(str(tmp_path), caption_extension=extension).rows(LeftOut()))
    assert found in (row.captions, row.extra["problem"])


@pytest.mark.parametrize(("kind", "mark"), [("jsonl", "utf-8-sig"), ("csv", "utf-8-sig"), ("csv", "utf-16")])
@pytest.mark.parametrize("place", ["", "train/"])
def test_metadata_as_imagefolder_has_it(kind: str, mark: str, place: str, tmp_path: Path) -> None:
    (tmp_path / place / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png", "c.png", "d.png"):
        (tmp_path / place / name).write_bytes(png())
    (tmp_path / place / "c.txt").write_text("the text file is nearer")
    lines = {
        "jsonl": '{"file_name": "a.png", "text": ["one", "two"]}\n\n'
        '{"file_name": "deep/b.png", "text": "b, \\"x\\""}\r\n'
        '{"file_name": "c.png", "text": "c"}\n{"file_name": "./gone.png", "text": "gone"}',
        "csv": 'file_name,text\r\na.png,one\r\ndeep/b.png,"b, ""x"""\r\nc.png,c\r\ngone.png,gone\r\n',
    }
    (tmp_path / place / f"metadata.{kind}").write_bytes(f"\n{lines[kind]}".encode(mark))
    left_out = LeftOut()
    rows = {row.location: row.captions for row in FolderSource(str(tmp_path)).rows(left_out)}
    assert rows == {
        f"{place}a.png": ("one", "two") if kind == "jsonl" else ("one",),
        f"{place}deep/b.png": ('b, "x"',),
        f"{place}c.png": ("the text file is nearer",),
        f"{place}d.png": (),
    }
    assert left_out == {"no such file": 1}


def test_metadata_with_a_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "metadata.csv").write_text('file_name,text\na.png,"' + "x" * 200_000)
    with pytest.raises(RequestError, match=r"/metadata\.csv: must be CSV \(field larger than"):
        next(FolderSource(str(tmp_path)).rows(LeftOut()))


def test_a_folder_without_any_caption_is_refused_before_planning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a_cat-2.png", "__.png"):
        (tmp_path / name).write_bytes(png())
    with pytest.raises(
        RequestError, match=r"none of its 2 pictures has a caption; put photo.txt .*--captions none"
    ):
        next(FolderSource(str(tmp_path)).rows(LeftOut()))
    named = FolderSource(str(tmp_path), captions="filename")
    assert [row.captions for row in named.rows(LeftOut())] == [(), ("a cat-2",)]
    empty = FolderSource(str(tmp_path), captions="none")
    assert [row.captions for row in empty.rows(LeftOut())] == [("",), ("",)]
    assert caplog.messages == ["--captions none: every caption is empty, so training on this dataset sees no text"]
    assert {"captions": "none", "folder": str(tmp_path), "kind": "folder"} == empty.describe()
    with pytest.raises(RequestError, match=r"--caption-extension must be one such as .caption, not 'caption'"):
        FolderSource(str(tmp_path), caption_extension="caption")


def test_captions_of_a_bucket_are_read_at_once_to_the_same_plan(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(b"")
        (tmp_path / f"{number}.txt").write_text(["word " * 1000, "", "\0", "a\nb"][number % 4])
    (tmp_path / "last.png").write_bytes(b"")
    fs, place = fsspec.core.url_to_fs(f"{bucket}/pictures")
    fs.pipe({f"{place}/{path.name}": path.read_bytes() for path in tmp_path.iterdir() if path.is_file()})
    both, read = Barrier(2, timeout=30), RemoteTree.read

    def read_with_another(tree: RemoteTree, name: str, most: int = -1) -> bytes:
        both.wait()
        return read(tree, name, most)

    monkeypatch.setattr(RemoteTree, "read", read_with_another)
    told, told_far = LeftOut(), LeftOut()
    rows = list(FolderSource(str(tmp_path)).rows(told))
    assert list(FolderSource(f"{bucket}/pictures").rows(told_far)) == rows
    assert told_far == told == {"captions shortened": 2}
