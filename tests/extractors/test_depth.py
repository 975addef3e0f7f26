"""MiDaS and Depth Anything against the networks that their authors publish, on photographs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from t2i_shards.extractors import depth
from t2i_shards.extractors.batch import fixed_threads
from t2i_shards.extractors.depth import Depth, to_grey
from t2i_shards.extractors.maps.formats import scale_to_grey
from t2i_shards.extractors.networks.midas import load_midas
from tests.extractors.published_networks import (
    published_depth_anything,
    published_midas,
    sized,
    write_transformers,
)

SIZES = [(96, 128), (64, 160), (64, 64)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the extractors have: sums may differ in the last bit with the number."""
    with fixed_threads(1):
        yield


class Pair(NamedTuple):
    """The extractor, loaded from a file, and the network that wrote the file."""

    extractor: Depth
    reference: nn.Module


def photograph(height: int, width: int, name: str = "astronaut") -> np.ndarray:
    """uint8 (H, W, 3) RGB: a part of a picture that scikit-image carries."""
    return np.ascontiguousarray(getattr(data, name)()[60 : 60 + height, 100 : 100 + width])


def normalise(picture: np.ndarray, mean: Any, std: Any) -> torch.Tensor:
    x = (picture / np.float32(255) - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(x).permute(2, 0, 1)[None]


def loaded(variant: str, folder: Path, path: Path, patch: pytest.MonkeyPatch) -> Depth:
    network = depth.NETWORKS[variant]
    patch.setitem(depth.NETWORKS, variant, replace(network, weights=sized(network.weights, path)))
    extractor = Depth(variant, folder)
    extractor.load("cpu")
    return extractor


@pytest.fixture(scope="module")
def midas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """From a checkpoint with the published names, of 490 MB."""
    folder = tmp_path_factory.mktemp("midas")
    torch.manual_seed(0)
    reference = published_midas()
    path = folder / depth.DPT_HYBRID.filename
    torch.save(reference.state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        extractor = loaded("default", folder, path, patch)
        path.unlink()
        yield Pair(extractor, reference)


@pytest.fixture(scope="module")
def anything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("anything")
    torch.manual_seed(0)
    reference = published_depth_anything()
    path = folder / depth.DEPTH_ANYTHING.name / depth.DEPTH_ANYTHING.filename
    path.parent.mkdir()
    write_transformers(reference, path)
    assert path.stat().st_size == depth.DEPTH_ANYTHING.bytes  # the published file's, to the byte
    with pytest.MonkeyPatch.context() as patch:
        yield Pair(loaded("depth-anything-v2-small", folder, path, patch), reference)


def inverse_depth(extractor: Depth, picture: np.ndarray) -> np.ndarray:
    """float (H, W) before it is scaled."""
    pictures = torch.from_numpy(picture).permute(2, 0, 1)[None]
    height, width = picture.shape[:2]
    with torch.inference_mode():
        return np.asarray(extractor.network(extractor.published.see(pictures))[0, :height, :width])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_midas_equals_the_published_network(midas: Pair, height: int, width: int) -> None:
    picture = photograph(height, width)
    with torch.inference_mode():
        expected = np.asarray(midas.reference(normalise(picture, 0.5, 0.5))[0])
    assert expected.std() > 0.5
    assert np.abs(inverse_depth(midas.extractor, picture) - expected).max() <= 1e-4
    (condition_map,) = midas.extractor(picture[None])
    assert np.abs(condition_map.astype(int) - scale_to_grey(expected)).max() <= 1


def test_midas_sees_rgb_from_minus_one_to_one_and_nothing_else(midas: Pair) -> None:
    picture = photograph(64, 96, "coffee")
    (condition_map,) = midas.extractor(picture[None])
    others = [
        normalise(picture[:, :, ::-1].copy(), 0.5, 0.5),
        normalise(picture, 0, 1),
        normalise(picture, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    with torch.inference_mode():
        for other in others:
            assert (
                np.abs(condition_map.astype(int) - scale_to_grey(np.asarray(midas.reference(other)[0]))).max() > 8
            )


@pytest.mark.parametrize(("variant", "stride"), [("midas", 32), ("anything", 14)])
def test_sides_off_the_stride_are_padded_not_resized(
    variant: str, stride: int, request: pytest.FixtureRequest
) -> None:
    extractor = request.getfixturevalue(variant).extractor
    picture = photograph(2 * stride + 5, 3 * stride - 1)
    padded = np.pad(picture, ((0, stride - 5), (0, 1), (0, 0)), mode="edge")
    whole = inverse_depth(extractor, padded)
    (condition_map,) = extractor(picture[None])
    assert np.array_equal(condition_map, scale_to_grey(whole[: picture.shape[0], : picture.shape[1]]))


def test_every_picture_has_its_own_scale(midas: Pair) -> None:
    pictures = np.stack([photograph(64, 64), photograph(64, 64, "coffee"), np.full((64, 64, 3), 9, np.uint8)])
    maps = midas.extractor(pictures)
    for picture, condition_map in zip(pictures, maps, strict=True):
        assert (condition_map.min(), condition_map.max()) == (0, 255)
        assert np.array_equal(condition_map, midas.extractor(picture[None])[0])


def test_networks_keep_their_features_to_themselves(midas: Pair) -> None:
    """The published code keeps features in a module's dict: a network between two calls must not matter."""
    picture = photograph(64, 64)
    before = inverse_depth(midas.extractor, picture)
    with torch.inference_mode():
        midas.reference(normalise(photograph(64, 96, "coffee"), 0.5, 0.5))
    assert np.array_equal(before, inverse_depth(midas.extractor, picture))
    assert not any(module._forward_hooks for module in midas.extractor.network.modules())


@pytest.mark.parametrize("damage", ["missing", "foreign", "misshapen"])
def test_a_tensor_that_does_not_fit_is_refused(
    damage: str, midas: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = dict(midas.reference.state_dict())
    if damage == "missing":
        del state["scratch.output_conv.4.bias"]
    elif damage == "foreign":
        state["scratch.output_conv.6.bias"] = torch.ones(1)
    else:
        state["scratch.output_conv.4.bias"] = torch.ones(2)
    monkeypatch.setattr("t2i_shards.extractors.networks.midas.read_tensors", lambda path: state)
    with pytest.raises(RuntimeError, match="output_conv"):
        load_midas(tmp_path)


@pytest.mark.parametrize(("height", "width"), [(98, 126), (70, 140)])
def test_depth_anything_equals_the_published_network(anything: Pair, height: int, width: int) -> None:
    picture = photograph(height, width)
    with torch.inference_mode():
        x = normalise(picture, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        expected = np.asarray(anything.reference(pixel_values=x).predicted_depth[0])
    assert expected.std() > 0.01
    assert np.abs(inverse_depth(anything.extractor, picture) - expected).max() <= 1e-4 * expected.max()
    (condition_map,) = anything.extractor(picture[None])
    assert np.abs(condition_map.astype(int) - scale_to_grey(expected)).max() <= 1


def test_depth_anything_without_one_of_its_tensors_is_refused(anything: Pair, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from t2i_shards.extractors.networks.depth_anything import load_depth_anything

    state = {k: v.contiguous() for k, v in anything.reference.state_dict().items() if k != "head.conv3.bias"}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"do not fit.*head\.conv3\.bias"):
        load_depth_anything(tmp_path / "model.safetensors")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e4])
def test_scaling_on_the_device_is_the_rule_of_the_format(scale: float) -> None:
    values = np.random.default_rng(0).random((5, 33, 47), np.float32) * np.float32(scale) + np.float32(0.1)
    values[1] = 0.25
    values[2] = np.round(values[2] * 8) / 8
    maps = np.asarray(to_grey(torch.from_numpy(values)))
    assert maps.dtype == np.uint8
    for value, condition_map in zip(values, maps, strict=True):
        assert np.array_equal(condition_map, scale_to_grey(value))
    assert not maps[1].any()


def test_the_recipe_names_the_weights_and_what_the_network_sees(midas: Pair, anything: Pair) -> None:
    assert depth.DPT_HYBRID.sha256.startswith(depth.DPT_HYBRID.filename[-11:-3])
    recipe = anything.extractor.recipe()
    assert recipe["weights"]["licence"] == "Apache-2.0"
    assert "multiples of 14" in recipe["parameters"]["size"]
    assert recipe["weights"]["sha256"] == anything.extractor.published.weights.sha256
