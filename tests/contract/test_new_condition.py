"""Adding a condition takes one file, one line and one test: here is all three, for surface normals of a toy kind.

The file is normals.py next to this one (it would be in extractors/), the line is in the first fixture (it would be
in extractors/registry.py), the test is the first one below. The rest shows that nothing else is needed: every
command knows the condition. The contract suite runs on a registered condition automatically; here it is called by
hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.extractors.maps import png
from t2i_shards.extractors.registry import EXTRACTORS, conditions, make_extractor
from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.report import collect_dataset, render_page
from t2i_shards.pipeline.report.plots import draw_numbers
from t2i_shards.pipeline.runlog import read_log
from t2i_shards.pipeline.stages import plan_extract
from tests.contract import normals
from tests.contract import test_extractors as suite
from tests.contract.conftest import Registered, crop
from tests.faults.toys import Pictures, make_images, problems
from tests.pipeline.publish.toys import publish_here, published_samples
from tests.pipeline.report.crawl import look_here

SAMPLES = 6


@pytest.fixture(scope="module", autouse=True)
def _line() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXTRACTORS, "normals", {"default": "tests.contract.normals:Normals"})
        yield


def test_a_plane_points_at_the_viewer_and_a_slope_away_from_what_is_higher() -> None:
    flat, slope = np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8, 3), np.uint8)
    slope += np.arange(0, 80, 10).astype(np.uint8)[None, :, None]
    up, aside = make_extractor("normals")(np.stack([flat, slope]))
    assert (up == (128, 128, 255)).all()
    assert (aside[:, 1:-1, 0] < 64).all()
    assert (aside[:, 1:-1, 1] == 128).all()


def test_the_contract_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = make_extractor("normals")
    registered = Registered("normals", "default", None, False, extractor)
    suite.test_says_what_it_is(registered)
    suite.test_eight_at_once_equal_eight_alone(extractor)
    for name in suite.SIZES:
        suite.test_any_size_twice_the_same_and_stored_exactly(registered, name)
    suite.test_grey_pictures(registered, None)
    for down, right in ((64, 0), (0, 64)):
        suite.test_registered_pixel_by_pixel(registered, down, right)
    suite.test_not_off_to_one_side(registered)
    suite.test_no_network_when_called(extractor, monkeypatch)


def test_a_mirrored_map_is_that_of_the_mirrored_picture() -> None:
    picture = crop(64, 64, 90, 180)
    condition_map, mirrored = make_extractor("normals")(np.stack([picture, picture[:, ::-1]]))
    assert np.abs(normals.FORMAT.mirror(condition_map).astype(int) - mirrored).max() <= 1


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Made by extract, together with another condition."""
    dataset = make_images(tmp_path_factory.mktemp("normals") / "root", Pictures(SAMPLES), 3)
    stage = plan_extract(dataset, ["normals", "color"])
    stage.setup()
    for shard in dataset.shards:
        assert stage(shard).errors == ()
    return dataset


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, with sample pictures after the second."""
    out = tmp_path_factory.mktemp("normals") / "run"
    words = f"train {dataset.store.root} --condition normals --base tiny --out {out} --adapter tiny"
    more = "--steps 2 --batch 2 --validation 2 --validate-every 1 --sample-every 2 --flip --threads 1 --device cpu"
    assert run(f"{words} {more}".split()) == 0
    return out


def test_extract_knows_it(dataset: Dataset) -> None:
    assert problems(dataset.store.root) == []
    for shard in dataset.shards:
        for picture, sample in zip(dataset.load(IMAGES, shard), dataset.load("normals", shard), strict=True):
            expected = normals.find_normals(decode_rgb(picture.members["jpg"]))
            assert np.array_equal(
                normals.FORMAT.decode({"normals.png": bytes(sample.members["normals.png"])}), expected
            )


def test_train_knows_it(trained: Path) -> None:
    assert (trained / "adapter").is_dir()
    assert json.loads((trained / "run.json").read_text())["condition"] == "normals"
    assert [line.step for line in read_log(trained / "log.jsonl")] == [0, 1, 2]
    assert list((trained / "samples").iterdir())


def test_generate_knows_it(trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = np.full((128, 128, 3), (128, 128, 255), np.uint8)
    given[:64] = (0, 128, 128)
    for name, pixels in (("right.png", given), ("wrong.png", 255 - given), ("photo.png", crop(128, 128, 90, 180))):
        (tmp_path / name).write_bytes(png.encode_rgb(pixels))
    words = (
        f"generate --base tiny --adapter normals={trained}/adapter --prompt disc --size 128 --steps 1 --guidance 1"
    )
    for name, more in (
        ("condition_map", f"--condition normals={tmp_path}/right.png"),
        ("odd", f"--condition normals={tmp_path}/wrong.png"),
        ("photo", f"--from-picture {tmp_path}/photo.png"),
    ):
        assert run(f"{words} --out {tmp_path}/{name} --device cpu {more}".split()) == 0
    (kept,) = (tmp_path / "condition_map").glob("normals*.png")
    assert np.array_equal(png.decode_rgb(kept.read_bytes()), given)
    assert [message for message in caplog.messages if "point away" in message and "wrong.png" in message]
    expected = normals.find_normals(crop(128, 128, 90, 180))
    (kept,) = (tmp_path / "photo").glob("normals*.png")
    assert np.array_equal(png.decode_rgb(kept.read_bytes()), expected)


def test_evaluate_knows_it(dataset: Dataset, trained: Path, tmp_path: Path) -> None:
    words = (
        f"evaluate {dataset.store.root} --condition normals --base tiny --adapter {trained}/adapter --samples 2"
    )
    assert run(f"{words} --steps 1 --guidance 1 --out {tmp_path} --device cpu".split()) == 0
    rows = json.loads((tmp_path / "evaluation.json").read_text())["rows"]
    assert all(0 <= row["normal_error"] < 1 for row in rows)
    assert "| pictures | normal error ↓ |" in (tmp_path / "evaluation.md").read_text()


def test_report_knows_it(dataset: Dataset) -> None:
    facts = collect_dataset(dataset.store.root, 2, look_here)
    assert not facts.problems
    (row, _) = facts.rows
    assert [(cell.column, cell.note) for cell in row.cells] == [(IMAGES, ""), ("color", ""), ("normals", "")]
    assert facts.tally is not None
    histograms, _ = draw_numbers(facts.tally)
    assert [(histogram.title, histogram.total) for histogram in histograms][1:] == [("Steepness", SAMPLES)]
    page = render_page([facts], None)
    assert "Steepness" in page
    assert "no normals" not in page


def test_publish_and_its_card_know_it(dataset: Dataset, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path)
    (samples,) = published_samples(tmp_path).values()
    own = {
        s.key: bytes(s.members["normals.png"]) for shard in dataset.shards for s in dataset.load("normals", shard)
    }
    assert {sample.key: sample.members["normals.png"] for sample in samples} == own
    card = (tmp_path / "README.md").read_text()
    assert "normals of the surface, x, y, z as RGB" in card


def test_a_request_that_names_another_lists_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "normals" in conditions()
    assert run(f"train ROOT --condition normal --base tiny --out {tmp_path}/run".split()) == 2
    assert "normals, not normal" in capsys.readouterr().err
