"""What every registered extractor must hold, whoever wrote it: runs on each (condition, variant) by itself."""

import json
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from extractors import weights
from extractors.base import Extractor, Map
from extractors.registry import EXTRACTORS, format_of, make_extractor
from extractors.weights import WeightsUnavailable
from pipeline.dataset import IMAGES
from pipeline.extract import plan_extract
from pipeline.image import decode_rgb
from tests.faults.toys import Pictures, make_images

REGISTERED = [(condition, variant) for condition, variants in EXTRACTORS.items() for variant in variants]
SIZES = [(64, 64), (128, 192), (7, 513), (1, 1)]
SHIFT = 64


class Request(NamedTuple):
    """What a user asks for."""

    condition: str
    variant: str
    weights: Path | None


@cache
def photograph() -> np.ndarray:
    """uint8 (512, 512, 3) RGB, a picture that scikit-image carries."""
    from skimage.data import astronaut

    return np.asarray(astronaut())


def crop(height: int, width: int, top: int = 0, left: int = 0) -> np.ndarray:
    """A part of the photograph; beyond its sides it starts again."""
    rows, columns = np.arange(top, top + height) % 512, np.arange(left, left + width) % 512
    return photograph()[rows][:, columns]


def same(a: Map, b: Map) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)


def no_hub(weight: weights.WeightFile) -> Any:
    raise ConnectionError("tests download nothing")


@pytest.fixture(scope="module", params=REGISTERED, ids="-".join)
def registered(request: pytest.FixtureRequest) -> Iterator[Request]:
    """With weights from the cache or the assets; skips with a reason where there are none."""
    condition, variant = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "fetch_from_hub", no_hub)
        try:
            make_extractor(condition, variant).recipe()
            yield Request(condition, variant, None)
        except WeightsUnavailable:
            yield Request(condition, variant, request.getfixturevalue("assets") / "weights")


@pytest.fixture(scope="module")
def extractor(registered: Request) -> Extractor:
    """Loaded on the CPU."""
    made = make_extractor(registered.condition, registered.variant, registered.weights)
    made.load("cpu")
    return made


def test_says_what_it_is(extractor: Extractor, registered: Request) -> None:
    recipe = extractor.recipe()
    assert extractor.condition == registered.condition
    assert extractor.format == format_of(registered.condition)
    assert json.loads(json.dumps(recipe)) == recipe
    assert recipe["variant"] == registered.variant
    assert set(recipe) >= {"extractor", "version", "variant", "weights", "parameters"}
    if recipe["weights"] is not None:
        assert all(recipe["weights"][key] for key in ("file", "sha256", "licence"))


def test_eight_at_once_equal_eight_alone_in_any_order(extractor: Extractor) -> None:
    pictures = np.stack([crop(64, 128, 37 * i, 53 * i) for i in range(8)])
    at_once = extractor(pictures)
    assert len(at_once) == 8
    for i, map in enumerate(at_once):
        assert same(map, extractor(pictures[i : i + 1])[0])
    for map, mirrored in zip(at_once, reversed(extractor(pictures[::-1])), strict=True):
        assert same(map, mirrored)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size_twice_the_same_drawn_and_stored_exactly(extractor: Extractor, height: int, width: int) -> None:
    pictures = crop(height, width, 90, 180)[None]
    untouched = pictures.copy()
    (map,), (again,) = extractor(pictures), extractor(pictures)
    assert np.array_equal(pictures, untouched)
    assert same(map, again)
    form = extractor.format
    drawing = form.draw(map, height, width)
    assert drawing.shape == (height, width, form.channels)
    assert drawing.dtype == np.uint8
    members = form.encode(map)
    assert tuple(members) == form.members
    assert members == form.encode(again)
    restored = form.decode({**members, "jpg": b""})
    assert same(restored, map)
    assert np.array_equal(form.draw(restored, height, width), drawing)


@pytest.mark.parametrize(
    "paint", [lambda g: g, np.zeros_like, lambda g: np.full_like(g, 255)], ids=["grey", "black", "white"]
)
def test_grey_pictures(extractor: Extractor, paint: Callable[[np.ndarray], np.ndarray]) -> None:
    grey = paint(np.repeat(crop(64, 64, 90, 180)[:, :, 1:2], 3, axis=2))
    (map,) = extractor(grey[None])
    assert extractor.format.draw(map, 64, 64).shape == (64, 64, extractor.format.channels)


def test_no_network_when_called(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: reached.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: reached.append(args))
    extractor(crop(64, 64)[None])
    assert reached == []


@pytest.mark.parametrize(("down", "right"), [(SHIFT, 0), (0, SHIFT)])
def test_registered_pixel_by_pixel(extractor: Extractor, down: int, right: int) -> None:
    """The map of a picture shifted by 64 pixels fits the picture's own map best when shifted by exactly 64."""
    size = 192
    pictures = np.stack([crop(size, size, 60, 130), crop(size, size, 60 + down, 130 + right)])
    first, second = (extractor.format.draw(map, size, size).astype(int) for map in extractor(pictures))
    if right:
        first, second = first.swapaxes(0, 1), second.swapaxes(0, 1)
    # Rows near a border see different surroundings in the two pictures: compare the inner ones.
    inner = slice(24, size - 2 * SHIFT - 24 + SHIFT // 2)
    errors = [np.abs(first[shift:][inner] - second[: size - shift][inner]).mean() for shift in range(96)]
    assert int(np.argmin(errors)) == SHIFT


def test_not_off_to_one_side(extractor: Extractor) -> None:
    """The map of the mirrored picture fits the mirrored map: no constant offset of more than a pixel.

    An offset shows twice, once in each direction. The published PiDiNet's own is a pixel down, half a pixel right.
    """
    size, reach = 192, 8
    picture = crop(size, size, 60, 130)
    for axis in (0, 1):
        map, mirrored = extractor(np.stack([picture, np.flip(picture, axis)]))
        first = np.flip(extractor.format.draw(map, size, size), axis).swapaxes(0, axis).astype(int)
        second = extractor.format.draw(mirrored, size, size).swapaxes(0, axis)
        inner = second[reach:-reach]
        errors = [np.abs(first[i : i + len(inner)] - inner).mean() for i in range(2 * reach + 1)]
        assert abs(int(np.argmin(errors)) - reach) <= 2


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 1), (1, 0, 64, 3)])
def test_refuses_what_is_no_batch_of_pictures(extractor: Extractor, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(N, H, W, 3\)"):
        extractor(np.zeros(shape, np.uint8))


def test_shard_in_and_shard_out(extractor: Extractor, registered: Request, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(3), 3)
    condition, variant, weights = registered
    stage = plan_extract(dataset, [condition], variant=variant, weights=weights)
    stage.setup()
    assert stage(0).errors == ()
    pictures, made = dataset.load(IMAGES, 0), dataset.load(condition, 0)
    assert [sample.key for sample in made] == [sample.key for sample in pictures]
    for picture, sample in zip(pictures, made, strict=True):
        rgb = decode_rgb(picture.members["jpg"])
        assert tuple(sample.members) == extractor.format.members
        map = extractor.format.decode(sample.members)
        assert same(map, extractor(rgb[None])[0])
        assert extractor.format.draw(map, *rgb.shape[:2]).shape[:2] == rgb.shape[:2]
