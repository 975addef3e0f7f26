"""Every mode that a file can have becomes RGB, or is a named drop."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.decode import read_picture
from tests.pipeline.image.pictures import gradient, png16, save

MODES = {
    "JPEG": ("L", "RGB", "CMYK", "1"),
    "PNG": ("L", "RGB", "P", "1"),
    "WEBP": ("L", "RGB", "P"),
    "BMP": ("L", "RGB", "P", "1"),
    "TIFF": ("L", "RGB", "P", "CMYK", "YCbCr", "1"),
    "GIF": ("L", "P", "1"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_every_mode_becomes_rgb(kind: str, mode: str) -> None:
    grey = Image.fromarray(gradient()[:, :, 1]).convert("RGB")
    picture = read_picture(save(grey.quantize(64) if mode == "P" else grey.convert(mode), kind))
    assert picture.dtype == np.uint8
    assert picture.shape == (48, 64, 3)
    assert picture.flags.c_contiguous
    if mode != "1":
        assert np.abs(picture.astype(int) - gradient()[:, :, 1:2]).mean() < 6


def test_cmyk_of_adobe_is_not_inverted() -> None:
    red = save(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG", quality=100)
    assert np.abs(read_picture(red).astype(int) - (255, 0, 0)).max() < 12


def test_grey_of_16_bits_keeps_its_range() -> None:
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    expected = np.rint(values / 257).astype(np.uint8)
    for data in (
        png16(1, values[..., None]),
        save(Image.fromarray(values), "TIFF"),
        save(Image.fromarray(values), "PNG"),
    ):
        found = read_picture(data)
        assert found.shape == (64, 64, 3)
        assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_16_bits_becomes_8(channels: int) -> None:
    values = np.full((64, 64, channels), 65535, np.uint16)
    values[..., :3] = np.random.default_rng(0).integers(0, 65536, (64, 64, 3))
    found = read_picture(png16(channels, values))
    assert np.abs(found.astype(int) - values[..., :3] / 257).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
def test_what_is_transparent_lies_on_white(kind: str) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:, 32:] = (0, 0, 200, 255)
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read_picture(save(Image.fromarray(rgba), kind, **options))
    assert (found[:, :32] == 255).all()
    assert (found[:, 32:] == (0, 0, 200)).all()


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.fromarray(np.repeat(np.array([[0, 1]], np.uint8), 32, 0).repeat(32, 1), "P")
    image.putpalette([9, 9, 9, 50, 60, 70])
    found = read_picture(save(image, "PNG", transparency=0))
    assert (found[:, :32] == 255).all()
    assert (found[:, 32:] == (50, 60, 70)).all()


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_what_has_no_range_of_a_picture_is_a_named_drop(mode: str) -> None:
    with pytest.raises(Drop, match=r"^unsupported mode$"):
        read_picture(save(Image.new(mode, (64, 64)), "TIFF"))


@pytest.mark.parametrize("alpha", [0, 128])
def test_a_bmp_that_is_transparent_everywhere_has_no_transparency(alpha: int) -> None:
    """32 bits with masks (BITMAPV4HEADER), whose fourth byte many programs leave at 0."""
    height, width = 48, 64
    picture = gradient(height, width)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = (
        struct.pack("<IiiHHIIiiII", 108, width, -height, 1, 32, 3, 0, 2835, 2835, 0, 0)
        + masks
        + b"BGRs"
        + bytes(48)
    )
    pixels = np.dstack([picture[..., ::-1], np.full((height, width), alpha, np.uint8)])
    pixels[0, 0, 3] = alpha
    data = b"BM" + struct.pack("<IHHI", 14 + 108 + pixels.nbytes, 0, 0, 14 + 108) + head + pixels.tobytes()
    found = read_picture(data).astype(int)
    expected = picture if alpha == 0 else (picture * 128.0 + 255 * 127) / 255
    assert np.abs(found - expected).max() <= 1
