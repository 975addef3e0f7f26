"""Maps that came with the pictures: checked, placed as their pictures are, and told from those made here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors.maps.coco_classes import UNLABELLED
from t2i_shards.extractors.registry import format_of
from t2i_shards.jobs.ingest import IngestTars
from t2i_shards.jobs.ingest_flow import IngestOptions
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.provenance import read_provenance
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.tars.maps import MapColumn, parse_columns, place_map
from t2i_shards.pipeline.sources.tars.source import TarsSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.faults.toys import fill
from tests.pipeline.image.pictures import gradient, save
from tests.pipeline.sources.tars.toys import planned, write_tar

SEG = format_of("seg")
LINES = np.zeros((64, 128), np.uint8)
LINES[20, 10:90], LINES[:, 40] = 255, 130
DEPTH = np.arange(64 * 128, dtype=np.uint32).reshape(64, 128).astype(np.uint8)
LABELS = np.where(LINES > 0, np.uint8(3), np.uint8(UNLABELLED))
PICTURE = save(gradient(64, 128), "PNG")


def grey(pixels: np.ndarray, mode: str = "L") -> bytes:
    return save(Image.fromarray(pixels).convert(mode), "PNG")


def grey16(pixels: np.ndarray) -> bytes:
    return save(Image.fromarray(pixels.astype(np.uint16) * 256), "PNG")


def labels(pixels: np.ndarray) -> bytes:
    return SEG.encode(pixels)["seg.png"]


def make(folder: Path, members: dict[str, Any], *columns: str, size: int = 64) -> tuple[Dataset, dict[str, Any]]:
    """(the dataset of one shard, column -> its receipt), of a tar with these members."""
    write_tar(folder / "in/1.tar", members)
    source = TarsSource(str(folder / "in"), columns=parse_columns(columns))
    dataset = plan_dataset(str(folder / "root"), source, Geometry(size), 10)
    [made] = fill(dataset, source, tuple(source.truths()))
    return dataset, dict(made.receipts)


def test_maps_of_the_pictures_size_are_kept_to_the_bit(tmp_path: Path) -> None:
    members = {"a.png": PICTURE, "a.txt": "a", "a.sketch.png": grey(255 - LINES, "RGB")}
    members |= {"a.depth.png": grey(DEPTH), "a.seg.png": labels(LABELS)}
    dataset, receipts = make(tmp_path, members, "sketch:inverted", "depth:as-is", "seg")
    assert [receipt.samples for receipt in receipts.values()] == [1] * 4
    for column, wanted in (("sketch", LINES), ("depth", DEPTH), ("seg", LABELS)):
        [sample] = dataset.load(column, 0)
        assert (format_of(column).decode(sample.members) == wanted).all(), column
    provenance = read_provenance(dataset, "sketch")
    told = {"made_by": "the input", "member": "sketch.png", "polarity": "inverted"}
    assert provenance.recipe == {"condition": "sketch", **told, "version": 1}
    assert (provenance.by, provenance.terms, provenance.is_ours) == ("the input 1, as it came", "not told", False)
    other = TarsSource(str(tmp_path / "in"), columns=parse_columns(["sketch:as-is"]))
    with pytest.raises(RequestError, match="was made with columns"):
        plan_dataset(str(tmp_path / "root"), other, Geometry(64), 10)


def test_a_map_lies_on_what_it_shows(tmp_path: Path) -> None:
    """Resized and cut: a square of the picture, its outline and its label are in one place."""
    picture = np.zeros((333, 500, 3), np.uint8)
    picture[100:180, 200:300] = 255
    square = picture[..., 0]
    members = {"a.png": save(picture, "PNG"), "a.txt": "a", "a.depth.png": grey(square)}
    members |= {"a.seg.png": labels(np.where(square > 0, np.uint8(3), np.uint8(UNLABELLED)))}
    dataset, _ = make(tmp_path, members, "depth:as-is", "seg", size=128)
    [stored], [depth], [seg] = (dataset.load(column, 0) for column in (IMAGES, "depth", "seg"))
    shown = decode_rgb(stored.members["jpg"])[..., 0] > 127
    assert shown.sum() > 900
    for found in (format_of("depth").decode(depth.members) > 127, SEG.decode(seg.members) == 3):
        assert (found ^ shown).sum() < 0.1 * shown.sum()


def test_lines_are_not_torn_when_they_shrink() -> None:
    lines = np.zeros((1024, 1024), np.uint8)
    for at in range(40, 1000, 41):
        lines[:, at] = 255
    placed = place_map(lines, format_of("sketch"), Geometry(256).place(1024, 1024))
    assert ((placed > 127).sum(axis=1) >= 24).all()
    assert (placed > 127).mean() < 0.25


OTHER_PALETTE = save(Image.fromarray(gradient(64, 128)).quantize(9), "PNG")
ODD: dict[str, tuple[str, bytes, str]] = {
    "no PNG": ("depth:as-is", save(gradient(64, 128), "JPEG"), "map not readable"),
    "cut": ("depth:as-is", grey(DEPTH)[:100], "map not readable"),
    "larger": ("depth:as-is", grey(np.tile(DEPTH, (2, 2))), "annotated at another size"),
    "colours": ("depth:as-is", save(gradient(64, 128), "PNG"), "not a map of its kind"),
    "transparent": ("depth:as-is", grey(DEPTH, "LA"), "not a map of its kind"),
    "16 bits": ("depth:as-is", grey16(DEPTH), "not a map of its kind"),
    "dark lines": ("sketch:as-is", grey(255 - LINES), "map with lines that are dark on bright"),
    "bright lines": ("sketch:inverted", grey(LINES), "map with lines that are dark on bright"),
    "ids without palette": ("seg", grey(LABELS), "not a map of its kind"),
    "another palette": ("seg", OTHER_PALETTE, "not a map of its kind"),
}


@pytest.mark.parametrize("name", ODD)
def test_another_map_is_a_named_drop(name: str, tmp_path: Path) -> None:
    column, data, reason = ODD[name]
    member = MapColumn(column.partition(":")[0]).member
    _, receipts = make(tmp_path, {"a.png": PICTURE, "a.txt": "a", f"a.{member}": data}, column)
    assert receipts[IMAGES].drops == {reason: 1}


def test_a_map_of_a_picture_that_will_be_turned_is_a_drop(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    file = io.BytesIO()
    Image.fromarray(gradient(64, 128)).save(file, "JPEG", exif=exif)
    members = {"a.jpg": file.getvalue(), "a.txt": "a", "a.depth.png": grey(DEPTH)}
    _, receipts = make(tmp_path, members, "depth:as-is")
    assert receipts[IMAGES].drops == {"turned by its EXIF": 1}


def test_a_sample_without_its_map_is_left_out_by_name(tmp_path: Path) -> None:
    members = {"a.png": PICTURE, "a.txt": "a", "b.png": PICTURE, "b.txt": "b", "b.sketch.png": PICTURE}
    write_tar(tmp_path / "1.tar", members)
    left_out = LeftOut()
    source = TarsSource(str(tmp_path), columns=parse_columns(["sketch:as-is"]))
    assert [row.key for row in source.rows(left_out)] == ["b"]
    assert left_out == {"no sketch.png": 1}


def test_without_columns_nothing_of_a_plan_is_other_than_before(tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tar", {"a.png": PICTURE, "a.txt": "a", "a.sketch.png": PICTURE})
    [row], _ = planned(tmp_path)
    assert [*row.extra] == ["tar", "at", "size", "mark", "url", "json", "input_key"]
    assert [*TarsSource(str(tmp_path)).describe()] == ["kind", "image", "caption_key", "tars", "tars_sha256"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["sketch"], r"must say sketch:as-is where its maps are .*, sketch:inverted where .*, not 'sketch'$"),
        (["sketch:black"], r"must say sketch:as-is .*, not 'sketch:black'$"),
        (["seg:inverted"], r"must say seg alone, not 'seg:inverted'$"),
        (["keypose"], r"grey or labels \(sketch, depth, seg, canny\), each once, not 'keypose'$"),
        (["depth:as-is", "depth:inverted"], r"each once, not 'depth'$"),
    ],
)
def test_columns_are_said_in_full(asked: list[str], said: str) -> None:
    with pytest.raises(RequestError, match=rf"^--columns {said}" if said[0] == "m" else said):
        parse_columns(asked)


def test_the_command_makes_columns_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("t2i_shards.jobs.ingest.ingest", lambda *given: seen.extend(given))
    command = IngestTars(tars=str(tmp_path), columns=("seg", "depth:inverted"), options=IngestOptions("root"))
    command.ingest()
    source, _, options, *_ = seen
    assert source.columns == (MapColumn("seg"), MapColumn("depth", inverted=True))
    assert options.truth == ("seg", "depth")
