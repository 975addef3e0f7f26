"""A folder of pictures as a source."""

from __future__ import annotations

import io
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.sources.folder import FolderSource, read_original
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row


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
    rows = list(FolderSource(str(folder)).rows(LeftOut()))
    assert [row.location for row in rows] == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.png"]
    assert [row.key for row in rows] == ["000000000", "000000001", "000000002", "000000003"]
    assert rows[0].captions == ("a picture called a", "another caption")
    assert rows == list(FolderSource(str(folder)).rows(LeftOut()))


def test_what_a_row_opens(folder: Path) -> None:
    source = FolderSource(str(folder))
    for row in source.rows(LeftOut()):
        original = read_original(source.tree, row)
        data = (folder / row.location).read_bytes()
        assert original.content == data
        assert original.captions == row.captions
        assert original.info == {"path": row.location}


@pytest.mark.parametrize("text", [None, "", "\n \n"])
def test_a_picture_without_caption_is_a_named_drop(text: str | None, folder: Path) -> None:
    (folder / "b.txt").unlink()
    if text is not None:
        (folder / "b.txt").write_text(text)
    source = FolderSource(str(folder))
    row = list(source.rows(LeftOut()))[1]
    assert row.captions == ()
    with pytest.raises(Drop, match=r"^no caption$"):
        read_original(source.tree, row)


def test_a_caption_may_have_any_bytes(folder: Path) -> None:
    (folder / "b.txt").write_bytes("caf\u00e9".encode("latin-1") + b"\r\nsecond\r\n")
    assert list(FolderSource(str(folder)).rows(LeftOut()))[1].captions == ("caf\u00e9", "second")


def test_a_picture_that_vanished_is_a_named_drop(folder: Path) -> None:
    source = FolderSource(str(folder))
    row = next(source.rows(LeftOut()))
    os.unlink(folder / "a.JPG")
    with pytest.raises(Drop, match=r"^no such file$"):
        read_original(source.tree, row)


def test_a_folder_with_the_name_of_a_picture(folder: Path) -> None:
    (folder / "z.png").mkdir()
    assert "z.png" not in [row.location for row in FolderSource(str(folder)).rows(LeftOut())]


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


def drops(folder: Path) -> dict[str, str | None]:
    """name -> reason, None for what is read."""
    source = FolderSource(str(folder))
    found: dict[str, str | None] = {}
    for row in source.rows(LeftOut()):
        try:
            read_original(source.tree, row)
            found[row.location] = None
        except Drop as drop:
            found[row.location] = drop.reason
    return found


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder elsewhere, with a private picture and caption."""
    secret = tmp_path_factory.mktemp("home")
    (secret / "private.png").write_bytes(png(1))
    (secret / "private.txt").write_text("aws_secret_access_key = hunter2")
    return secret


def test_links_out_of_the_folder_are_named_drops(folder: Path, secret: Path) -> None:
    for name in ("b.png", "a.txt"):
        (folder / name).unlink()
    (folder / "b.png").symlink_to(secret / "private.png")
    (folder / "a.txt").symlink_to(secret / "private.txt")
    (folder / "g.png").symlink_to(secret / "nothing.png")
    (folder / "g.txt").write_text("leads nowhere")
    (folder / "relative.png").symlink_to(os.path.relpath(secret / "private.png", folder))
    (folder / "relative.txt").write_text("a picture of somebody else")
    assert drops(folder) == {
        "a.JPG": "caption: link out of the folder",
        "b.png": "link out of the folder",
        "g.png": "link out of the folder",
        "relative.png": "link out of the folder",
        "sub/c.webp": None,
        "sub/deep/d.png": None,
    }
    assert "hunter2" not in str(list(FolderSource(str(folder)).rows(LeftOut())))


def test_links_inside_are_followed(folder: Path) -> None:
    (folder / "file.png").symlink_to("sub/deep/d.png")
    (folder / "file.txt").symlink_to("e.txt")
    (folder / "album").symlink_to(folder / "sub")
    left_out = LeftOut()
    rows = {row.location: row for row in FolderSource(str(folder)).rows(left_out)}
    assert rows.keys() == {
        "a.JPG", "b.png", "file.png", "sub/c.webp", "sub/deep/d.png", "album/c.webp", "album/deep/d.png"
    }  # fmt: skip
    assert rows["file.png"].captions == ("a picture called e", "another caption")
    assert set(drops(folder).values()) == {None}
    assert left_out == {"format not taken": 1, "caption without picture": 2}  # notes.md, and twice e.txt


def test_a_folder_that_is_a_link_itself_is_the_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("links") / "pictures"
    link.symlink_to(folder)
    assert set(drops(link)) == set(drops(folder))
    assert set(drops(link).values()) == {None}


def test_linked_folders_end(folder: Path, secret: Path) -> None:
    """Each of twelve folders leads to all the others and to the one above: that is 12! ways."""
    for number in range(12):
        (folder / "ring" / str(number)).mkdir(parents=True)
        (folder / "ring" / str(number) / "up").symlink_to("..")
        for other in set(range(12)) - {number}:
            (folder / "ring" / str(number) / f"to{other}").symlink_to(f"../{other}")
    (folder / "self").symlink_to("self")
    (folder / "out").symlink_to(secret)
    # Its pictures go with their folder, whatever is said of them.
    (folder / "metadata.csv").write_text("file_name,text\nout/private.png,a\nsub/../out/x/y.png,b\n")
    left_out = LeftOut()
    rows = list(FolderSource(str(folder)).rows(left_out))
    assert [row.location for row in rows] == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.png"]
    assert (left_out.pop("format not taken"), left_out.pop("caption without picture")) == (2, 2)
    # Twelve ways up, and twelve more links in each of the 132 folders that are reached through another link.
    assert left_out == {"linked folder outside": 1, "folder read elsewhere already": 12 + 132 * 12}


def test_fifos_devices_and_sockets_are_not_read(folder: Path, tmp_path: Path) -> None:
    (folder / "b.png").unlink()
    os.mkfifo(folder / "b.png")
    (folder / "a.txt").unlink()
    os.mkfifo(folder / "a.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "s.png"))
        (folder / "s.txt").write_text("a socket")
        found = drops(folder)
    assert found["b.png"] == "not a regular file"
    assert found["a.JPG"] == "caption: not a regular file"
    assert found["s.png"] == "not a regular file"


def test_a_plan_cannot_name_a_file_outside(folder: Path, secret: Path) -> None:
    source = FolderSource(str(folder))
    for name in (str(secret / "private.png"), os.path.relpath(secret / "private.png", folder)):
        with pytest.raises(Drop, match="path out of the folder"):
            read_original(source.tree, Row("a", name, ("given",)))


def test_names_of_screenshots_and_emoji_are_taken(folder: Path) -> None:
    names = ["Screenshot at 4.42.48\u202fPM.png", "family \U0001f468\u200d\U0001f469.png", "nbsp\u00a0.png"]
    for name in names:
        (folder / name).write_bytes(png())
        (folder / name).with_suffix(".txt").write_text("a picture")
    (folder / "line\nfeed.png").write_bytes(png())
    (folder / os.fsdecode(b"latin-\xe9.png")).write_bytes(png())
    left_out = LeftOut()
    rows = {row.location for row in FolderSource(str(folder)).rows(left_out)}
    assert rows.issuperset(names)
    assert left_out["name with control characters or not UTF-8"] == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "line 1 must be JSON"),
        ('{"file_name": "a.png", "text": "a"}\n[]', "line 2 must be a JSON object"),
        ('{"image": "a.png"}', "must have file_name and one of text, caption, captions; its record 1 has image"),
        ('{"file_name": "a.png", "tags": 3}', "its record 1 has file_name, tags"),
    ],
)
def test_metadata_that_is_none_is_a_wrong_request(text: str, line: str, folder: Path) -> None:
    (folder / "metadata.jsonl").write_text(text)
    with pytest.raises(RequestError, match=line):
        next(FolderSource(str(folder)).rows(LeftOut()))


def test_what_may_not_be_read_is_a_named_drop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from t2i_shards.pipeline.sources import tree

    def refuse(folder: str, name: str) -> None:
        raise PermissionError(errno.EACCES, "no")

    source = FolderSource(str(folder))
    row = next(source.rows(LeftOut()))
    monkeypatch.setattr(tree, "open_inside", refuse)
    with pytest.raises(Drop, match=r"^file not readable$"):
        read_original(source.tree, row)
    assert {row.extra["problem"] for row in source.rows(LeftOut())} == {"caption: file not readable"}


def test_a_machine_without_the_folder_is_a_wrong_request(folder: Path, tmp_path: Path) -> None:
    source = FolderSource(str(folder))
    folder.rename(folder.parent / "gone")
    with pytest.raises(RequestError, match="FOLDER must be a folder of pictures"), source.gather([], 64, tmp_path):
        pass


def test_a_bucket_is_a_folder_too(folder: Path, bucket: str) -> None:
    import fsspec

    fs, prefix = fsspec.core.url_to_fs(f"{bucket}/my pictures")
    for path in folder.rglob("*"):
        if path.is_file():
            fs.pipe(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
    fs.pipe(f"{prefix}/sub/", b"")
    here, there = LeftOut(), LeftOut()
    source = FolderSource(f"{bucket}/my pictures/")
    rows = list(source.rows(there))
    assert rows == list(FolderSource(str(folder)).rows(here))
    assert here == there
    with source.gather(rows, 64, folder) as opener:
        assert opener(rows[3]).content == (folder / rows[3].location).read_bytes()
        fs.rm(f"{prefix}/{rows[3].location}")
        with pytest.raises(Drop, match=r"^no such file$"):
            opener(rows[3])


@pytest.mark.parametrize(("url", "extra"), [("gs://bucket/a", "gcs"), ("abfs://bucket/a", "azure")])
def test_a_place_whose_client_is_missing_names_the_extra(
    url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RequestError, match=rf"pip install 't2i-shards\[{extra}\]'$"):
        FolderSource(url)
