"""Every file of a folder is accounted for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.left_out import read_left_out, read_named, read_notes
from t2i_shards.pipeline.dataset.outcomes import read_outcomes
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.publish.survey import caption_problem
from t2i_shards.pipeline.shards.sample_info import SampleInfo, read_info
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.conftest import CASES
from tests.faults.toys import fill
from tests.pipeline.sources.mixed_folder import SHAPE, make_mixed


def ingest(source: FolderSource, root: Path, size: int = 64) -> Dataset:
    dataset = plan_dataset(str(root), source, Geometry(size, max_upscale=1.5), 10_000)
    assert [made.errors for made in fill(dataset, source)] == [()]
    return dataset


def statuses(dataset: Dataset) -> dict[str, str]:
    """location -> what became of the row."""
    names = {row.key: row.location for row in dataset.plan(0)}
    ((_, table),) = read_outcomes(dataset, ("key", "status"))
    pairs = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
    return {names[key]: status for key, status in pairs}


def infos(dataset: Dataset) -> dict[str, SampleInfo]:
    """location -> the sample's json."""
    samples = dataset.load(IMAGES, 0)
    known = {info.location: info for info in map(read_info, samples)}
    assert [caption_problem(sample, read_info(sample)) for sample in samples] == [None] * len(samples)
    return known


@pytest.mark.parametrize(
    "shapes", [(SHAPE,), pytest.param((SHAPE, (96, 128), (200, 256), (65, 100)), marks=pytest.mark.soak)]
)
def test_every_file_is_accounted_for(shapes: tuple[tuple[int, int], ...], tmp_path: Path) -> None:
    """By its name: a picture, the caption of one, a drop, or left out; and the pictures lie the right way up."""
    mixed = make_mixed(tmp_path / "in", shapes)
    dataset = ingest(FolderSource(str(mixed.folder)), tmp_path / "root")
    found = statuses(dataset)
    assert found.keys() == mixed.statuses.keys()
    pairs = {name: (status, mixed.statuses[name]) for name, status in found.items()}
    wrong = {name: pair for name, pair in pairs.items() if pair[0] not in pair[1].split(" | ")}
    assert wrong == {}
    left_out = read_left_out(dataset.store)
    assert left_out == {reason: len(names) for reason, names in mixed.left_out.items()}
    named = list(read_named(dataset.store))
    escaped = {
        reason: {name.encode("utf-8", "backslashreplace").decode() for name in names}
        for reason, names in mixed.left_out.items()
    }
    assert len(named) == len(set(named)) == sum(left_out.values())
    assert {reason: {one.location for one in named if one.reason == reason} for reason in left_out} == escaped
    assert read_notes(dataset.store) == {"captions shortened": 1}
    no_files = {"folder read elsewhere already", "linked folder outside", "no such file"}
    files = sum(count for reason, count in left_out.items() if reason not in no_files)
    assert len(found) + len(mixed.used) + files == mixed.files
    assert mixed.files > (1000 if len(shapes) > 1 else 350)
    known = infos(dataset)
    for name, info in known.items():
        turned = name.startswith("orientations") and name.partition("-")[2][0] in "5678"
        width, height = info.placement.original
        assert (width < height) == turned, name
        assert ("profile" in info.source) == (name.startswith("profiles") and "-p3" in name), name


WANTED: dict[str, dict[str, str]] = {
    "names": {},
    "tiff": {},
    "profiles": {},
    "metadata": {},
    "pixels": {"half.jpg": "truncated"},
    "captions": {
        "cap_ctrl.jpg": "caption not readable",
        "cap_nul.jpg": "caption not readable",
        "cap_spaces.jpg": "no caption",
        "cap_empty.jpg": "no caption",
        "cap_zwsp.jpg": "no caption",
    },
    "endings": {"a.jpg": "no caption", "d.jpg": "no caption", "heic.heic": "not a picture"},
}
"""Folder of the collected cases -> its drops; all else are samples."""


@pytest.mark.parametrize("case", WANTED)
def test_the_collected_folders(case: str, tmp_path: Path) -> None:
    if not CASES.is_dir():
        pytest.skip("needs ../shared/cases, which is not beside this checkout")
    shutil.copytree(CASES / "folder" / case, tmp_path / "in")
    dataset = ingest(FolderSource(str(tmp_path / "in")), tmp_path / "root")
    assert {name: why for name, why in statuses(dataset).items() if why != "ok"} == WANTED[case]
    left_out = {"format not taken": 3} if case == "endings" else {}  # a.caption, d.json, jp2.jp2
    assert {name: n for name, n in read_left_out(dataset.store).items() if name == "format not taken"} == left_out
    assert infos(dataset).keys() == {name for name, why in statuses(dataset).items() if why == "ok"}


@pytest.mark.parametrize(
    ("extension", "name", "caption"), [(".caption", "a.jpg", "kohya caption"), (".json", "d.jpg", "json")]
)
def test_the_collected_captions_of_another_ending(extension: str, name: str, caption: str, tmp_path: Path) -> None:
    if not CASES.is_dir():
        pytest.skip("needs ../shared/cases, which is not beside this checkout")
    source = FolderSource(str(CASES / "folder/endings"), caption_extension=extension)
    assert infos(ingest(source, tmp_path / "root"))[name].captions == (caption,)
