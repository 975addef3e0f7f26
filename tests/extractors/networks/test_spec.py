"""What a published network sees: pixels normalised, nothing resized, edges repeated up to its stride."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from t2i_shards.extractors.networks.spec import HALF, IMAGENET_MEAN, IMAGENET_STD, Network
from t2i_shards.extractors.weights.file import WeightFile, WeightsUnavailable

FILE = WeightFile(name="toy", filename="toy.safetensors", sha256="a" * 64, licence="MIT")


def network(stride: int, mean: tuple[float, float, float] = HALF, load: str = f"{__name__}:load_toy") -> Network:
    return Network("toy network", FILE, load, mean, IMAGENET_STD if mean is IMAGENET_MEAN else HALF, stride)


def load_toy(path: Path) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 1, 1), nn.Dropout()).train()


@pytest.mark.parametrize("size", [(32, 64), (33, 50), (1, 1)])
@pytest.mark.parametrize("mean", [HALF, IMAGENET_MEAN])
def test_it_sees_each_pixel_where_it_is(size: tuple[int, int], mean: tuple[float, float, float]) -> None:
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, *size), np.uint8))
    spec = network(32, mean)
    seen = spec.see(pictures)
    height, width = (-(-side // 32) * 32 for side in size)
    assert (seen.dtype, seen.shape) == (torch.float32, (2, 3, height, width))
    back = seen.double() * torch.tensor(spec.std).view(3, 1, 1) + torch.tensor(spec.mean).view(3, 1, 1)
    torch.testing.assert_close(back[:, :, : size[0], : size[1]], pictures.double() / 255, atol=1e-6, rtol=0)
    assert torch.equal(
        seen[:, :, size[0] :], seen[:, :, size[0] - 1 : size[0]].expand(-1, -1, height - size[0], -1)
    )
    assert torch.equal(seen[..., size[1] :], seen[..., size[1] - 1 : size[1]].expand(-1, -1, -1, width - size[1]))


def test_half_is_minus_one_to_one() -> None:
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert network(1).see(black_and_white)[0].tolist() == [[[-1.0, 1.0]]] * 3


def test_it_is_built_frozen_of_a_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2i_shards.extractors.networks.spec.resolve", lambda file, folder: folder / file.filename)
    built = network(8).build(tmp_path, torch.device("cpu"))
    assert not any(module.training for module in built.modules())
    assert not any(parameter.requires_grad for parameter in built.parameters())


def test_the_recipe_names_all_that_decides_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsUnavailable, match=r"toy\.safetensors"):
        network(8).recipe(tmp_path)
    monkeypatch.setattr("t2i_shards.extractors.networks.spec.resolve", lambda file, folder: folder / file.filename)
    recipes = [
        network(stride, mean).recipe(tmp_path) for stride, mean in ((8, HALF), (16, HALF), (8, IMAGENET_MEAN))
    ]
    weights, parameters = recipes[0]
    assert (weights["sha256"], weights["licence"]) == ("a" * 64, "MIT")
    assert parameters["network"] == "toy network"
    assert len({str(recipe) for recipe in recipes}) == 3
