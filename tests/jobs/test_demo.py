"""The demo, small: every step, with no network and no weights."""

from __future__ import annotations

import io
import json
import socket
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import webdataset

from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.publish import PublishCommand
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.status import dataset_status
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.sample import Sample
from tests.faults.specimens import HerePool

connect = socket.socket.connect


def connect_here(self: socket.socket, address: Any) -> None:
    """Other tests of this process have servers on loopback, and a Ray."""
    assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), "the demo used the network"
    connect(self, address)


def _demo(out: Path) -> str:
    """What the demo says of its steps. Its workers are this process, which may use no network."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        patch.setattr(sys.modules["t2i_shards.pipeline.engine.run"], "open_pool", HerePool)
        patch.setattr(socket.socket, "connect", connect_here)
        patch.setenv("T2I_SHARDS_CACHE", str(out.with_name("cache")))
        ended = run(["demo", "--out", str(out), "--samples", "20", "--steps", "3", "--engine", "local"])
    assert ended == 0, said.getvalue()
    return said.getvalue()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    out = tmp_path_factory.mktemp("demo") / "runs"
    _demo(out)
    return out


def test_every_column_of_every_shard_is_there(demo: Path) -> None:
    made = {
        "dataset": (20, {"sketch", "depth", "seg", "keypose", "color"}),
        "photograph-dataset": (8, {"sketch", "canny", "color"}),
        "simple-dataset": (20, {"sketch", "latents"}),
    }
    for name, (samples, conditions) in made.items():
        columns = {c.column: c for c in dataset_status(Dataset.open(str(demo / name)))}
        assert columns.keys() == {"images"} | conditions
        assert all(c.samples == samples and not c.missing and not c.stale for c in columns.values())


def test_five_networks_made_them(demo: Path) -> None:
    dataset = Dataset.open(str(demo / "dataset"))
    recipes = {name: dataset.recipe(name) for name in dataset.columns()[1:]}
    assert all(recipe and recipe["variant"] == "mini" for recipe in recipes.values())
    weights = {name: recipe["weights"] for name, recipe in recipes.items() if recipe and recipe["weights"]}
    assert weights.keys() == {"sketch", "depth", "seg", "keypose"}


def test_the_adapter_loads_in_diffusers_with_nothing_missing(demo: Path) -> None:
    from diffusers import T2IAdapter

    _, info = T2IAdapter.from_pretrained(demo / "train" / "adapter", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_the_page_shows_pictures_the_loss_and_what_the_adapter_does(demo: Path) -> None:
    page = (demo / "report.html").read_text("utf-8")
    assert page.count("data:image/") > 12 * 6 + 8 * 4
    assert "Validation loss" in page
    assert page.count("<span>without</span>") == page.count("<span>with</span>") == 5
    verdict = json.loads((demo / "train" / "evaluation" / "evaluation.json").read_text())["verdict"]
    assert verdict["measure"] == "edge_f1"
    assert verdict["line"] in page
    assert (demo / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.soak
def test_the_same_command_again_changes_nothing(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.glob("*dataset/*/*")}
    assert "0 of them now" in _demo(demo)
    assert {path: path.stat().st_mtime_ns for path in demo.glob("*dataset/*/*")} == before


@pytest.mark.usefixtures("ray_address")
def test_each_reader_loads_what_is_published_of_it(demo: Path, tmp_path: Path) -> None:
    """webdataset, HF datasets, Ray Data and our own stream count its samples and see all members, or it fails."""
    to = tmp_path / "published"
    summary = PublishCommand(str(demo / "dataset"), str(to), engine=EngineOptions("local", 1)).run()
    assert not summary.problems
    assert (summary.record["samples"], summary.record["unchecked"]) == ({"train": 20}, [])
    keys = [sample.key for sample in read_images(demo / "dataset")]
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
