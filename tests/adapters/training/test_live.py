"""--live: the condition is computed from the crop that a step sees, and no column is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from t2i_shards.adapters.training.setup import load_live
from t2i_shards.adapters.training.trainer import train
from t2i_shards.extractors.registry import make_extractor
from t2i_shards.pipeline.scenes import render
from tests.adapters.toys import toy_config
from tests.faults.toys import Pictures, make_images


@pytest.mark.parametrize(("condition", "channels"), [("sketch", 1), ("canny", 1), ("seg", 3)])
def test_it_is_what_the_extractor_sees_in_each_crop(condition: str, channels: int, tmp_path: Path) -> None:
    config = toy_config(tmp_path, condition=condition, live=True, variant="mini")
    live = load_live(config.data, config.extractor, torch.device("cpu"))
    assert live is not None
    crops = np.stack([render(0, number, 192).picture[:64, :128] for number in range(2)])
    seen = live(torch.from_numpy(crops).permute(0, 3, 1, 2))
    assert (seen.dtype, seen.shape) == (torch.uint8, (2, channels, 64, 128))
    assert seen.stride() == torch.empty(2, channels, 64, 128).stride(), "torch would round otherwise"
    extractor = make_extractor(condition, "mini")
    extractor.load("cpu")
    for crop, image in zip(crops, seen, strict=True):
        expected = extractor.format.render(extractor(crop[None])[0], 64, 128)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)
    assert seen.any()


def test_a_training_needs_no_column_and_remembers_the_recipe(tmp_path: Path) -> None:
    root = make_images(tmp_path / "root", Pictures(6), 6).store.root
    assert train(toy_config(tmp_path / "run", roots=(root,), condition="canny", live=True, steps=1)).steps == 1
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["live"]
    assert len(recipe) == 64
    config = toy_config(tmp_path / "run", condition="canny")
    assert load_live(config.data, config.extractor, torch.device("cpu")) is None
