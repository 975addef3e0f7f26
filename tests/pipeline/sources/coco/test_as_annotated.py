"""Annotations lie on the pixels that they were made for, and nothing is decoded without a bound."""

from __future__ import annotations

import io
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.coco.labels import read_label_map
from t2i_shards.pipeline.sources.coco.source import CocoSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.pipeline.coco_toy import SPLIT, ToyPicture, encode_png, write_coco
from tests.pipeline.sources.coco.test_ingest import drops, ingest, samples

SIZE = (128, 160)


def picture_file(
    size: tuple[int, int] = SIZE, turn: int | None = None, kind: str = "JPEG", mode: str = "RGB"
) -> bytes:
    exif = Image.Exif()
    if turn is not None:
        exif[ExifTags.Base.Orientation] = turn
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, exif=exif)
    return file.getvalue()


def write(folder: Path, *files: bytes, annotated: tuple[int, int] = SIZE) -> CocoSource:
    """A COCO of these files, whose annotations are for pictures of `annotated` (width, height)."""
    proper = picture_file(annotated)
    pictures = [ToyPicture(n, proper) for n in range(1, len(files) + 1)]
    coco = write_coco(folder / "coco", pictures)
    for picture, data in zip(pictures, files, strict=True):
        (coco / SPLIT / picture.name).write_bytes(data)
    return CocoSource(str(coco), SPLIT)


def test_a_picture_that_is_turned_or_of_another_size_is_a_drop(tmp_path: Path) -> None:
    turned = [picture_file(turn=turn) for turn in (2, 3, 4)]
    sideways = [picture_file(turn=6, kind="PNG"), picture_file(SIZE[::-1], 8, "WEBP")]
    other = [picture_file(size) for size in (SIZE[::-1], (256, 320), (128, 161))]
    upright = [picture_file(turn=turn) for turn in (None, 0, 1, 9)]
    dataset = ingest(tmp_path / "root", write(tmp_path, *turned, *sideways, *other, *upright), ())
    assert drops(dataset) == {"turned by its EXIF": 5, "annotated at another size": 3}
    assert list(samples(dataset)) == [f"{n:012d}" for n in range(9, 13)]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_turned_picture_that_only_max_pixels_lets_in_is_a_drop(tmp_path: Path) -> None:
    size = (10_240, 9_984)
    source = write(tmp_path, picture_file(size, 3, mode="L"), annotated=size)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64, max_pixels=110_000_000), 1)
    stage = Ingest(dataset, source, {})
    stage.setup()
    receipt = stage(0).receipts[IMAGES]
    assert receipt.drops == {"turned by its EXIF": 1}


def test_the_same_pictures_are_drops_in_a_child(tmp_path: Path) -> None:
    files = picture_file(turn=3), picture_file(SIZE[::-1], 6), picture_file(SIZE[::-1]), picture_file()
    source = write(tmp_path, *files)
    stage = Ingest(plan_dataset(str(tmp_path / "root"), source, Geometry(128), 4), source, {})
    stage.setup()
    receipt = stage.run_carefully(0).receipts[IMAGES]
    assert receipt.drops == {"turned by its EXIF": 2, "annotated at another size": 1}
    assert receipt.samples == 1


def test_opening_a_row_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The EXIF of a PNG may lie behind its pixels, which Pillow decodes to find it."""
    data = picture_file(kind="PNG")
    source = write(tmp_path, data)
    rows = list(source.rows(LeftOut()))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: pytest.fail("decoded"))
    with source.gather(rows, 128, tmp_path) as opener:
        assert opener(rows[0]).content == data


def test_a_label_map_is_decoded_under_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    left = []
    load = PngImagePlugin.PngImageFile.load

    def watched(image: PngImagePlugin.PngImageFile) -> object:
        left.append(signal.getitimer(signal.ITIMER_PROF)[0])
        return load(image)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", watched)
    read_label_map(encode_png(np.zeros((2, 3), np.uint8)), (3, 2))
    assert left
    assert min(left) > 0
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0


def test_truth_that_comes_later_is_not_laid_on_a_picture_of_another_size(tmp_path: Path) -> None:
    """As a dataset may hold one that was made when turned pictures beyond the common limit passed."""
    dataset = ingest(tmp_path / "root", write(tmp_path, picture_file()), ())
    source = write(tmp_path / "other", picture_file(), annotated=SIZE[::-1])
    plan_dataset(str(tmp_path / "planned"), source, Geometry(128), 4)
    shutil.copy(tmp_path / "planned/plan/000000.parquet", tmp_path / "root/plan/000000.parquet")
    stage = Ingest(dataset, source, {"keypose": dataset.claim("keypose", source.truths()["keypose"])})
    stage.setup()
    with pytest.raises(IncompleteError, match="annotated at another size"):
        stage(0)
