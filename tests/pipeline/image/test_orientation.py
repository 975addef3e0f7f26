"""A picture is stored upright, whichever way its EXIF says it was taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.image.decode import decode_picture, read_picture
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.stored import decode_rgb
from tests.pipeline.image.pictures import UPRIGHT, gradient, save


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = lossless.get(kind, {})
    stored = gradient()
    data = save(stored, kind, exif=exif, **options)
    found = read_picture(data)
    assert decode_picture(data, Geometry(64)).turned == (orientation > 1)
    expected = UPRIGHT[orientation](stored)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (8 if kind == "JPEG" else 0)


def test_a_stored_picture_is_not_turned_again() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_rgb(save(gradient(), "JPEG", exif=exif)).shape == (48, 64, 3)
