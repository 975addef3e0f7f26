"""The contract of every registered extractor, run on each (condition, variant) automatically."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.extractors.base import Extractor, Map, compile_networks
from t2i_shards.extractors.batch import Batch
from t2i_shards.extractors.maps.crop import fixed_side
from t2i_shards.extractors.maps.people import People
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.scenes import render
from t2i_shards.pipeline.stages import plan_extract
from tests.contract.conftest import Registered, crop
from tests.contract.people import moved
from tests.faults.toys import Pictures, make_images

SIZES = {"pixel": (1, 1), "strip": (7, 513), "square": (512, 512), "upright": (640, 427), "lying": (427, 640)}
SMALL = {**SIZES, "square": (96, 96), "upright": (160, 107), "lying": (107, 160)}
"""For the large networks: likewise a square, and sides that are multiples of nothing."""
SHIFT = 64


def same(a: Map, b: Map) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)


def check_documented(condition_map: Map, condition: str, height: int, width: int) -> None:
    """The picture's size; and of this project's conditions type, dtype and range, which a new one tests itself."""
    form = format_of(condition)
    if form.cell == 1:
        assert form.size(condition_map) == (height, width)
    if condition == "keypose":
        assert isinstance(condition_map, People)
        assert condition_map.keypoints.dtype == np.float32
        assert np.isfinite(condition_map.keypoints).all()
        assert ((condition_map.keypoints[..., 2] >= 0) & (condition_map.keypoints[..., 2] <= 1)).all()
    if condition == "latents":
        side = fixed_side(height, width) // 8
        assert condition_map.dtype == np.float16
        assert condition_map.shape == (2, 4, side, side)
        assert np.isfinite(condition_map).all()
        assert ((condition_map[1] >= -30) & (condition_map[1] <= 20)).all()
    if condition == "color":
        assert condition_map.dtype == np.uint8
        assert condition_map.shape == (max(1, height // 64), max(1, width // 64), 3)
    if condition in ("sketch", "depth", "seg", "canny"):
        assert condition_map.dtype == np.uint8
        assert condition_map.ndim == 2
    if condition == "depth":  # min-max, or all alike
        assert not condition_map.any() or (condition_map.min(), condition_map.max()) == (0, 255)
    if condition == "seg":
        assert np.isin(condition_map, [*range(182), 255]).all()
    if condition == "canny":
        assert np.isin(condition_map, [0, 255]).all()


def test_says_what_it_is(registered: Registered) -> None:
    extractor, recipe = registered.extractor, registered.extractor.recipe()
    assert extractor.condition == registered.condition
    assert extractor.format == format_of(registered.condition)
    assert json.loads(json.dumps(recipe)) == recipe
    assert recipe["variant"] == registered.variant
    assert set(recipe) >= {"extractor", "version", "variant", "weights", "parameters"}
    if recipe["weights"] is not None:
        assert all(recipe["weights"][key] for key in ("file", "sha256", "licence"))


def test_eight_at_once_equal_eight_alone(extractor: Extractor) -> None:
    pictures = np.stack([crop(64, 96, 37 * i, 53 * i) for i in range(8)])
    at_once = extractor(Batch(pictures))
    assert len(at_once) == 8
    alone = [extractor(pictures[i : i + 1])[0] for i in range(8)]
    assert all(same(condition_map, other) for condition_map, other in zip(at_once, alone, strict=True))
    if extractor.condition != "keypose":  # of whom a part of a photograph may hold none
        assert any(not same(at_once[0], other) for other in at_once[1:]), "the maps do not depend on the pictures"


@pytest.mark.parametrize("name", SIZES)
def test_any_size_twice_the_same_and_stored_exactly(registered: Registered, name: str) -> None:
    extractor = registered.extractor
    height, width = (SMALL if registered.drawn else SIZES)[name]
    pictures = crop(height, width, 90, 180)[None]
    untouched = pictures.copy()
    (condition_map,) = extractor(pictures)
    assert np.array_equal(pictures, untouched)
    check_documented(condition_map, registered.condition, height, width)
    form = extractor.format
    control_image = form.render(condition_map, height, width)
    assert control_image.shape == (height, width, form.channels)
    assert control_image.dtype == np.uint8
    members = form.encode(condition_map)
    assert tuple(members) == form.members
    restored = form.decode({**members, "jpg": b""})
    assert same(restored, condition_map)
    assert form.encode(restored) == members
    if form.is_condition:
        nothing = form.empty(height, width)
        assert same(form.decode(form.encode(nothing)), nothing)
        assert same(form.blank(condition_map), nothing)
    assert np.array_equal(form.render(restored, height, width), control_image)
    if height * width <= 320 * 320:  # once is enough at sizes that take long
        assert same(condition_map, extractor(pictures)[0])


@pytest.mark.parametrize("value", [None, 0, 255], ids=["grey", "black", "white"])
def test_grey_pictures(registered: Registered, value: int | None) -> None:
    grey = np.repeat(crop(64, 64, 90, 180)[:, :, 1:2], 3, axis=2)
    if value is not None:
        grey = np.full_like(grey, value)
    (condition_map,) = registered.extractor(grey[None])
    check_documented(condition_map, registered.condition, 64, 64)


def test_no_network_when_called(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[object] = []

    def reach(*args: object, **kwargs: object) -> None:
        reached.append(args)
        raise OSError("tests reach nobody")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, reach)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, reach)
    extractor(crop(64, 64)[None])
    assert reached == []


def view(registered: Registered, size: int, down: int, right: int) -> np.ndarray:
    """A part of a picture that the network understands: of a scene where it was trained on nothing else."""
    if registered.variant.startswith("mini"):
        scene = render(0, 5, 384).picture
        return np.ascontiguousarray(scene[100 + down :, 60 + right :][:size, :size])
    return crop(size, size, 60 + down, 130 + right)


def knows_the_ground(registered: Registered) -> bool:
    """True for networks that take what is low for near, or for ground: upside down, they see another scene."""
    return registered.variant.startswith("mini") and registered.condition in ("depth", "seg")


@pytest.mark.parametrize(("down", "right"), [(SHIFT, 0), (0, SHIFT)], ids=["down", "right"])
def test_registered_pixel_by_pixel(registered: Registered, down: int, right: int) -> None:
    """The map of a picture shifted by 64 pixels fits the picture's own map best when shifted by exactly 64."""
    extractor, size = registered.extractor, 192
    pictures = np.stack([view(registered, size, 0, 0), view(registered, size, down, right)])
    if registered.drawn:
        pytest.skip("random weights fit no map best: their alignment with the published network is tested")
    if registered.condition == "keypose":
        # Each to a few pixels, as the network sees how far the canvas reaches; all together to a fraction of one.
        away = moved(extractor, right, down) - (right, down)
        assert len(away) > 10
        assert np.median(np.abs(away)) < 3.0
        assert np.abs(np.median(away, axis=(0, 1))).max() < 0.5
        return
    if down and knows_the_ground(registered):
        pytest.skip("it knows where the ground lies; that a map eight pixels too low is noticed is tested")
    first, second = (
        extractor.format.render(condition_map, size, size).astype(int) for condition_map in extractor(pictures)
    )
    if right:
        first, second = first.swapaxes(0, 1), second.swapaxes(0, 1)
    # Rows near a border see different surroundings in the two pictures: compare the inner ones.
    inner = slice(24, size - 2 * SHIFT - 24 + SHIFT // 2)
    errors = [np.abs(first[shift:][inner] - second[: size - shift][inner]).mean() for shift in range(96)]
    assert int(np.argmin(errors)) == SHIFT


def test_not_off_to_one_side(registered: Registered) -> None:
    """The map of the mirrored picture fits the mirrored map: no constant offset of more than a pixel.

    An offset shows twice, once in each direction. The published PiDiNet's own is a pixel down, half a pixel right.
    """
    extractor, size, reach = registered.extractor, 192, 8
    if registered.condition == "keypose" or registered.drawn:
        pytest.skip("random weights do not give a mirrored picture the mirrored map")
    picture = view(registered, size, 0, 0)
    for axis in (1,) if knows_the_ground(registered) else (0, 1):
        condition_map, mirrored = extractor(np.stack([picture, np.flip(picture, axis)]))
        first = np.flip(extractor.format.render(condition_map, size, size), axis).swapaxes(0, axis).astype(int)
        second = extractor.format.render(mirrored, size, size).swapaxes(0, axis)
        inner = second[reach:-reach]
        errors = [np.abs(first[i : i + len(inner)] - inner).mean() for i in range(2 * reach + 1)]
        assert abs(int(np.argmin(errors)) - reach) <= 2


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 1), (1, 0, 64, 3)])
def test_refuses_what_is_no_batch_of_pictures(extractor: Extractor, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(N, H, W, 3\)"):
        extractor(np.zeros(shape, np.uint8))


def test_its_networks_can_be_compiled(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network is found by --compile, which looks among the extractor's attributes; it is not run here."""
    import torch

    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **options: compiled.append(module))
    names = compile_networks(registered.extractor)
    assert len(names) == len(compiled)
    assert bool(names) == (registered.extractor.recipe()["weights"] is not None)


def test_shard_in_and_shard_out(registered: Registered, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(3), 3)
    extractor, condition = registered.extractor, registered.condition
    stage = plan_extract(dataset, [condition], variant=registered.variant, weights=registered.weights)
    stage.setup()
    assert stage(0).errors == ()
    pictures, made = dataset.load(IMAGES, 0), dataset.load(condition, 0)
    assert [sample.key for sample in made] == [sample.key for sample in pictures]
    for picture, sample in zip(pictures, made, strict=True):
        rgb = decode_rgb(picture.members["jpg"])
        assert tuple(sample.members) == extractor.format.members
        condition_map = extractor.format.decode({name: bytes(data) for name, data in sample.members.items()})
        assert same(condition_map, extractor(rgb[None])[0])
        assert extractor.format.render(condition_map, *rgb.shape[:2]).shape[:2] == rgb.shape[:2]
