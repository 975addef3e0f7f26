"""COCO in the official layout, by the commands that a user types: ingest, truth, extract, verify, train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.status import dataset_status
from tests.conftest import ASSETS
from tests.pipeline.coco_toy import SPLIT, real_pictures, rendered_pictures, write_coco

pytestmark = pytest.mark.usefixtures("in_this_process")


def cli(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def ingest(coco: Path, root: Path, *more: object) -> int:
    options = ("--split", SPLIT, "--size", 128, "--shard-size", 4, "--engine", "local", "--workers", 1)
    return cli("ingest", "coco", "--coco", coco, "--out", root, *options, *more)


def test_the_whole_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pictures = real_pictures(ASSETS) if ASSETS.is_dir() else rendered_pictures()
    coco = write_coco(tmp_path / "coco", pictures, zipped=True)
    root, out = tmp_path / "root", tmp_path / "run"
    here = ("--engine", "local", "--workers", 1)
    assert ingest(coco, root) == 0
    assert ingest(coco, root, "--truth", "seg", "keypose") == 0
    assert cli("extract", root, "--conditions", "color", "--device", "cpu", *here) == 0
    assert cli("verify", root, *here) == 0
    columns = dataset_status(Dataset.open(str(root)))
    assert {c.column: c.samples for c in columns} == dict.fromkeys(("images", "seg", "keypose", "color"), 6)
    capfd.readouterr()
    train = ("--base", "tiny", "--adapter", "tiny", "--size", 128, "--steps", 2, "--batch", 2)
    train = (*train, "--validation", 2, "--threads", 1)
    assert cli("train", root, "--condition", "seg", "--out", out, *train, "--json") == 0
    assert json.loads(capfd.readouterr().out)["steps"] == 2
    assert (out / "adapter").is_dir()


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--licenses", 9), "--licenses must be licence ids"),
        (("--split", "test2017"), "captions_test2017.json: not there"),
        (
            ("--truth", "depth"),
            "--truth must name conditions this source knows exactly (keypose, seg), not 'depth'",
        ),
    ],
)
def test_a_wrong_request_is_one_line_and_code_2(
    more: tuple[object, ...], line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    coco = write_coco(tmp_path / "coco", rendered_pictures(1))
    assert ingest(coco, tmp_path / "root", *more) == 2
    said = capfd.readouterr().err
    assert line in said
    assert said.startswith("t2i-shards: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "root" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda record: record.update(images=[]), "must list at least one picture in images, has none"),
        (lambda record: record["annotations"][0].update(image_id=4), "an image_id must be the id of a picture"),
        (lambda record: record.pop("annotations"), "missing required field `annotations`"),
    ],
)
def test_annotations_that_do_not_fit_are_one_line_and_code_2(
    change: object, line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    coco = write_coco(tmp_path / "coco", rendered_pictures(1))
    path = coco / "annotations" / f"captions_{SPLIT}.json"
    record = json.loads(path.read_text())
    change(record)  # type: ignore[operator]
    path.write_text(json.dumps(record))
    assert ingest(coco, tmp_path / "root") == 2
    said = capfd.readouterr().err
    assert f"{path}: " in said
    assert line in said
    assert said.count("\n") == 1
