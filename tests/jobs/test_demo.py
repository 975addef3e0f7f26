"""The demo, small: the whole way with no network and no weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import webdataset

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.publish import PublishCommand
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.status import dataset_status
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.sample import Sample

ROOT = Path(__file__).parents[2]


def _demo(out: Path, home: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["demo", "--out", str(out), "--samples", "20", "--steps", "3", "--engine", "local"]
    environment = {**os.environ, "HOME": str(home), "HF_HUB_OFFLINE": "1", "T2I_SHARDS_CACHE": str(home / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "t2i_shards", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """(its folder, what it said, an empty home)"""
    out, home = tmp_path_factory.mktemp("demo") / "runs", tmp_path_factory.mktemp("home")
    ended = _demo(out, home)
    assert ended.returncode == 0, ended.stderr
    return out, ended.stdout, home


def test_every_column_of_every_shard_is_there(demo: tuple[Path, str, Path]) -> None:
    made = {
        "dataset": (20, {"sketch", "depth", "seg", "keypose", "color"}),
        "photograph-dataset": (8, {"sketch", "canny", "color"}),
        "simple-dataset": (20, {"sketch", "latents"}),
    }
    for name, (samples, conditions) in made.items():
        columns = {c.column: c for c in dataset_status(Dataset.open(str(demo[0] / name)))}
        assert columns.keys() == {"images"} | conditions
        assert all(c.samples == samples and not c.missing and not c.stale for c in columns.values())


def test_five_networks_made_them(demo: tuple[Path, str, Path]) -> None:
    dataset = Dataset.open(str(demo[0] / "dataset"))
    recipes = {name: dataset.recipe(name) for name in dataset.columns()[1:]}
    assert all(recipe and recipe["variant"] == "mini" for recipe in recipes.values())
    weights = {name: recipe["weights"] for name, recipe in recipes.items() if recipe and recipe["weights"]}
    assert weights.keys() == {"sketch", "depth", "seg", "keypose"}


def test_the_adapter_loads_in_diffusers_with_nothing_missing(demo: tuple[Path, str, Path]) -> None:
    from diffusers import T2IAdapter

    _, info = T2IAdapter.from_pretrained(demo[0] / "train" / "adapter", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_the_page_shows_pictures_the_loss_and_what_the_adapter_does(demo: tuple[Path, str, Path]) -> None:
    page = (demo[0] / "report.html").read_text("utf-8")
    assert page.count("data:image/") > 12 * 6 + 8 * 4
    assert "Validation loss" in page
    assert page.count("<span>without</span>") == page.count("<span>with</span>") == 5
    verdict = json.loads((demo[0] / "train" / "evaluation" / "evaluation.json").read_text())["verdict"]
    assert verdict["measure"] == "edge_f1"
    assert verdict["line"] in page
    assert (demo[0] / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.soak
def test_the_same_command_again_changes_nothing(demo: tuple[Path, str, Path]) -> None:
    out, _, home = demo
    before = {path: path.stat().st_mtime_ns for path in out.glob("*dataset/*/*")}
    again = _demo(out, home)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in out.glob("*dataset/*/*")} == before
    assert "0 of them now" in again.stdout


@pytest.mark.usefixtures("ray_address")
def test_each_reader_loads_what_is_published_of_it(demo: tuple[Path, str, Path], tmp_path: Path) -> None:
    """webdataset, HF datasets, Ray Data and our own stream count its samples and see all members, or it fails."""
    to = tmp_path / "published"
    summary = PublishCommand(str(demo[0] / "dataset"), str(to), engine=EngineOptions("local", 1)).run()
    assert not summary.problems
    assert (summary.record["samples"], summary.record["unchecked"]) == ({"train": 20}, [])
    keys = [sample.key for sample in read_images(demo[0] / "dataset")]
    found = list(webdataset.WebDataset(str(to / "data/train-000000.tar"), shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in found] == keys
    members = {
        "jpg",
        "txt",
        "json",
        "sketch.png",
        "depth.png",
        "keypose.json",
        "keypose.png",
        "seg.png",
        "color.png",
    }
    assert all(members <= sample.keys() for sample in found)


def read_images(root: Path) -> list[Sample]:
    dataset = Dataset.open(str(root))
    receipts = dataset.receipts(IMAGES)
    return [sample for shard in dataset.shards for sample in load_verified(dataset.store, receipts[shard])]
