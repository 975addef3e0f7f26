"""The parts of COCO lie in folders or in the official zips, and are read alike from both."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.sources.coco.files import (
    MAX_BYTES,
    ImageFolder,
    find_panoptic_maps,
    find_pictures,
    find_stuff_maps,
)
from t2i_shards.pipeline.sources.coco.source import CocoSource
from tests.pipeline.coco_toy import write_files, write_zip

Find = Callable[[Path, str], ImageFolder | None]


@pytest.mark.parametrize(
    ("find", "folder", "archive", "inside"),
    [
        (find_pictures, "train2017", "train2017.zip", "train2017"),
        (find_pictures, "images/train2017", "images/train2017.zip", "train2017"),
        (find_stuff_maps, "stuffthingmaps/train2017", "stuffthingmaps_trainval2017.zip", "train2017"),
        (
            find_stuff_maps,
            "stuffthingmaps_trainval2017/train2017",
            "annotations/stuffthingmaps_trainval2017.zip",
            "train2017",
        ),
        (
            find_panoptic_maps,
            "annotations/panoptic_train2017",
            "annotations/panoptic_train2017.zip",
            "panoptic_train2017",
        ),
        (find_panoptic_maps, "panoptic_train2017", "panoptic_train2017.zip", "panoptic_train2017"),
    ],
)
def test_found_as_a_folder_and_as_a_zip(
    find: Find, folder: str, archive: str, inside: str, tmp_path: Path
) -> None:
    assert find(tmp_path, "train2017") is None
    (tmp_path / archive).parent.mkdir(exist_ok=True)
    write_zip(tmp_path / archive, {f"{inside}/1.jpg": b"zipped", "val2017/2.jpg": b"other"})
    zipped = find(tmp_path, "train2017")
    assert zipped
    assert zipped.open()("1.jpg") == b"zipped"
    with pytest.raises(FileNotFoundError):
        zipped.open()("2.jpg")
    write_files(tmp_path / folder, {"1.jpg": b"unpacked"})
    unpacked = find(tmp_path, "train2017")
    assert unpacked
    assert unpacked.open()("1.jpg") == b"unpacked"
    with pytest.raises(FileNotFoundError):
        unpacked.open()("2.jpg")


def test_nothing_of_a_zip_is_unpacked(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"a/1.jpg": b"x"})
    assert ImageFolder(tmp_path / "a.zip", "a").open()("1.jpg") == b"x"
    assert os.listdir(tmp_path) == ["a.zip"]


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(bytes(MAX_BYTES + 1))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "1.jpg", "a/1.jpg")
    for folder in (ImageFolder(tmp_path), ImageFolder(tmp_path / "a.zip", "a")):
        with pytest.raises(Drop, match="too large"):
            folder.open()("1.jpg")
    with open(tmp_path / "1.jpg", "r+b") as file:
        file.truncate(MAX_BYTES)
    assert len(ImageFolder(tmp_path).open()("1.jpg")) == MAX_BYTES


def test_a_damaged_member_is_a_drop_and_its_neighbours_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_zip(path, {"a/1.jpg": b"first" * 9, "a/2.jpg": b"second" * 9})
    data = bytearray(path.read_bytes())
    data[data.index(b"second")] ^= 1
    path.write_bytes(data)
    read = ImageFolder(path, "a").open()
    assert read("1.jpg") == b"first" * 9
    with pytest.raises(Drop, match="damaged in the zip file"):
        read("2.jpg")


@pytest.mark.parametrize("keep", [0, 30, 0.5, 0.99])
def test_a_zip_that_is_not_whole_is_refused(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_zip(path, {f"a/{n}.jpg": b"x" * 50 for n in range(20)})
    size = path.stat().st_size
    os.truncate(path, int(keep if keep >= 1 else keep * size))
    with pytest.raises(RequestError, match=r"a.zip: must be a whole zip file"):
        ImageFolder(path, "a").open()


@pytest.mark.parametrize("folder", [ImageFolder(Path("nowhere")), ImageFolder(Path("nowhere.zip"), "a")])
def test_a_machine_without_the_files_is_refused(folder: ImageFolder) -> None:
    with pytest.raises(RequestError, match=r"nowhere.*: must exist on every machine that works"):
        folder.open()


def test_parent_and_child_do_not_share_an_open_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_zip(path, {f"a/{n}.jpg": bytes([n]) * 100_000 for n in range(20)})
    folder = ImageFolder(path, "a")
    folder.open()("0.jpg")
    child = os.fork()
    good = all(folder.open()(f"{n}.jpg") == bytes([n]) * 100_000 for _ in range(20) for n in range(20))
    if child == 0:
        os._exit(not good)
    assert good
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_links_out_of_coco_are_not_followed(tmp_path: Path) -> None:
    coco, home = tmp_path / "coco", tmp_path / "home"
    write_files(home, {"private.jpg": b"private"})
    write_files(coco / "train2017", {"1.jpg": b"x"})
    write_files(coco / "all", {"2.jpg": b"y"})
    (coco / "train2017" / "2.jpg").symlink_to("../all/2.jpg")
    (coco / "train2017" / "3.jpg").symlink_to(home / "private.jpg")
    os.mkfifo(coco / "train2017" / "4.jpg")
    folder = find_pictures(coco, "train2017")
    assert folder
    assert [folder.open()("1.jpg"), folder.open()("2.jpg")] == [b"x", b"y"]
    for name, what in (("3.jpg", "link"), ("../../home/private.jpg", "path"), (f"{home}/private.jpg", "path")):
        with pytest.raises(Drop, match=f"{what} out of the folder"):
            folder.open()(name)
    with pytest.raises(Drop, match="not a regular file"):
        folder.open()("4.jpg")


@pytest.mark.parametrize(
    ("find", "name"),
    [(find_pictures, "val2017"), (find_stuff_maps, "stuffthingmaps"), (find_pictures, "val2017.zip")],
)
def test_a_part_of_coco_that_is_a_link_out_is_refused(find: Find, name: str, tmp_path: Path) -> None:
    coco, elsewhere = tmp_path / "coco", tmp_path / "elsewhere"
    coco.mkdir()
    (elsewhere / "val2017").mkdir(parents=True)
    write_zip(elsewhere / "val2017.zip", {"val2017/1.jpg": b"x"})
    (coco / name).symlink_to(elsewhere / ("" if name == "stuffthingmaps" else name))
    with pytest.raises(
        RequestError, match=r"a link must not lead out of --coco, and this one leads to .*elsewhere"
    ):
        find(coco, "val2017")


def test_annotations_that_are_a_link_out_are_refused(tmp_path: Path) -> None:
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    (tmp_path / "captions.json").write_text("{}")
    (coco / "annotations" / "captions_val2017.json").symlink_to(tmp_path / "captions.json")
    with pytest.raises(RequestError, match=r"captions_val2017\.json: a link must not lead out of --coco"):
        CocoSource(str(coco), "val2017")
