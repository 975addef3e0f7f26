"""The geometry puts every point of a picture where its placement says."""

from __future__ import annotations

import random
from typing import Any

import cv2
import numpy as np
import pytest

from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.geometry import Geometry, Placement, apply_placement
from tests.pipeline.image.pictures import mean_reference

SIZES = [
    (640, 480),
    (480, 640),
    (512, 512),
    (500, 333),
    (2000, 100),
    (4000, 3000),
    (257, 256),
    (1025, 511),
    (64, 64),
]


@pytest.mark.parametrize("fit", ["aspect", "square"])
@pytest.mark.parametrize("size", [64, 256, 512])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_geometry(width: int, height: int, size: int, fit: Any) -> None:
    geometry = Geometry(size, fit, max_upscale=1e9)
    placement = geometry.place(width, height)
    x, y, w, h = placement.crop
    assert placement.original == (width, height)
    assert w % SIZE_MULTIPLE == h % SIZE_MULTIPLE == 0
    assert min(w, h) == min(placement.resized) == size
    assert max(w, h) <= (size if fit == "square" else 2 * size)
    # Nothing more is cut than the multiple of 64 and the aspect of two ask for.
    for side, resized in ((w, placement.resized[0]), (h, placement.resized[1])):
        assert side > min(resized, 2 * size if fit == "aspect" else size) - SIZE_MULTIPLE
    # The same scale on both sides, but for the rounding to a pixel.
    scale = size / min(width, height)
    assert abs(placement.resized[0] - width * scale) <= 0.5
    assert abs(placement.resized[1] - height * scale) <= 0.5
    # From the centre.
    assert abs(2 * x + w - placement.resized[0]) <= 1
    assert abs(2 * y + h - placement.resized[1]) <= 1
    cut = apply_placement(np.zeros((height, width, 3), np.uint8), placement)
    assert cut.shape == (h, w, 3)
    assert cut.flags.c_contiguous


def test_growth_has_a_limit() -> None:
    geometry = Geometry(512, max_upscale=2.0)
    assert geometry.place(256, 300).resized[0] == 512
    with pytest.raises(Drop, match=r"^too small$"):
        geometry.place(255, 300)
    assert Geometry(512, max_upscale=1.0).place(512, 512).resized == (512, 512)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (300, 777), (1600, 400)])
def test_a_placement_says_where_a_point_lies(width: int, height: int) -> None:
    rng = random.Random(3)
    placement = Geometry(256).place(width, height)
    left, top, w, h = placement.crop
    for _ in range(20):
        # A dot that lies inside the crop.
        x = rng.randrange(12, w - 12) + left
        y = rng.randrange(12, h - 12) + top
        at_x, at_y = x * width / placement.resized[0], y * height / placement.resized[1]
        picture = np.zeros((height, width, 3), np.uint8)
        yy, xx = np.mgrid[:height, :width]
        picture[(xx + 0.5 - at_x) ** 2 + (yy + 0.5 - at_y) ** 2 < 36] = 255
        found = apply_placement(picture, placement)[:, :, 0].astype(float)
        rows, columns = np.mgrid[:h, :w]
        at = ((columns + 0.5) * found).sum() / found.sum(), ((rows + 0.5) * found).sum() / found.sum()
        expected = at_x * placement.resized[0] / width - left, at_y * placement.resized[1] / height - top
        assert abs(at[0] - expected[0]) < 0.3
        assert abs(at[1] - expected[1]) < 0.3


def test_a_placement_of_another_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(10, 20\) cannot be applied to \(20, 10\)"):
        apply_placement(np.zeros((10, 20, 3), np.uint8), Placement((10, 20), (64, 64), (0, 0, 64, 64)))


@pytest.mark.parametrize("size", [0, -64, 100, 32])
def test_a_size_off_the_grid_is_refused(size: int) -> None:
    with pytest.raises(RequestError, match=f"--size must be a positive multiple of 64, not {size}"):
        Geometry(size)


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_off_its_range_is_refused(quality: int) -> None:
    with pytest.raises(RequestError, match=f"--quality must be 1 to 100, not {quality}"):
        Geometry(quality=quality)


@pytest.mark.parametrize("side", [140, 160, 192, 230, 255, 256, 300, 700])
def test_a_picture_that_shrinks_is_nearer_to_the_mean_than_a_bicubic_one(side: int) -> None:
    """Noise, on which leaving pixels out gives the largest error."""
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    found = apply_placement(picture, Geometry(size=128).place(side, side)).astype(float)
    bicubic = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_CUBIC).astype(float)
    mean = mean_reference(picture, 128, 128)
    assert np.square(found - mean).mean() < 0.7 * np.square(bicubic - mean).mean()
    assert side < 256 or np.abs(found - mean).max() <= 1
