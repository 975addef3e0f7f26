"""The scripts in examples/ run on scenes, and do what they say."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.faults.toys import fill

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> Callable[[list[str]], Any]:
    """The `main` of a script."""
    main: Callable[[list[str]], Any] = runpy.run_path(str(EXAMPLES / name))["main"]
    return main


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    source = ScenesSource(12, 64)
    dataset = plan_dataset(str(tmp_path_factory.mktemp("examples") / "root"), source, Geometry(64), 6)
    fill(dataset, source, ("sketch",))
    return dataset.store.root


def test_plain_torch_learns_and_continues_where_it_stopped(root: str, tmp_path: Path) -> None:
    main = load("plain_torch.py")
    words = [root, "--size", "64", "--batch", "4", "--log-every", "100", "--out"]
    first = main([*words, str(tmp_path / "first"), "--steps", "1"])
    whole = main([*words, str(tmp_path / "whole"), "--steps", "8"])
    main([*words, str(tmp_path / "parts"), "--steps", "5"])
    assert main([*words, str(tmp_path / "parts"), "--steps", "8"]) == whole < first
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "parts")]
    for name, weights in states[0]["network"].items():
        assert torch.equal(weights, states[1]["network"][name]), name
    assert states[0]["data"] == states[1]["data"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("first", [3, 5], ids=["an epoch's end", "the middle of one"])
def test_lightning_continues_where_it_saved(root: str, tmp_path: Path, first: int) -> None:
    main = load("lightning_trainer.py")
    words = [root, "--size", "64", "--batch", "4", "--accelerator", "cpu", "--save-every", "1", "--out"]
    whole = main([*words, str(tmp_path / "whole"), "--steps", "8"])
    main([*words, str(tmp_path / "parts"), "--steps", str(first), "--workers", "1"])
    parts = main([*words, str(tmp_path / "parts"), "--steps", "8"])
    untrained = main([*words, str(tmp_path / "untrained"), "--steps", "0"]).state_dict()
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, parts.state_dict()[name]), name
        assert not torch.equal(weights, untrained[name]), name


def test_diffusers_loop_trains_an_adapter_that_loads(root: str, tmp_path: Path) -> None:
    from diffusers import T2IAdapter

    words = [root, "--size", "64", "--batch", "4", "--steps", "4", "--lr", "1e-3", "--out", str(tmp_path / "out")]
    losses = load("diffusers_t2i_adapter.py")(words)
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    adapter, report = T2IAdapter.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values())
    assert adapter.config.in_channels == 1
    load("diffusers_t2i_adapter.py")([*words[:-1], str(tmp_path / "untrained"), "--steps", "0"])
    before = T2IAdapter.from_pretrained(tmp_path / "untrained").state_dict()
    assert not any(torch.equal(weights, before[name]) for name, weights in adapter.state_dict().items())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_batch_that_the_samples_do_not_fill_is_refused_or_used(root: str, tmp_path: Path) -> None:
    words = [root, "--size", "64", "--batch", "13", "--steps", "2", "--out", str(tmp_path / "out")]
    for name, more in (("lightning_trainer.py", ["--accelerator", "cpu"]), ("diffusers_t2i_adapter.py", [])):
        with pytest.raises(SystemExit, match="smaller --batch"):
            load(name)([*words, *more])
    assert load("plain_torch.py")(words) > 0
    assert torch.load(tmp_path / "out/state.pt", weights_only=True)["data"]["epoch"] == 1


@pytest.mark.soak
def test_a_ray_job_makes_a_dataset_of_each_folder(
    tmp_path: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("holidays", "birds")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (80, 80), (90 * number, 90, 0)).save(tmp_path / name / "1.png")
        (tmp_path / name / "1.txt").write_text(name)
    folders = [str(tmp_path / name) for name in ("holidays", "birds")]
    words = [*folders, "--out", str(tmp_path / "data"), "--conditions", "canny", "--size", "64"]
    assert load("ray_two_folders.py")(words) == 0
    for name in ("holidays", "birds"):
        dataset = Dataset.open(str(tmp_path / "data" / name))
        assert [dataset.receipts(column)[0].samples for column in (IMAGES, "canny")] == [1, 1]
    assert load("ray_two_folders.py")([str(tmp_path / "gone"), "--out", str(tmp_path / "data")]) == 2
