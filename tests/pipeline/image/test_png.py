"""PNGs of which the picture is the smaller part."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import PngImagePlugin

from t2i_shards.pipeline.image.decode import decode_picture, read_picture
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.png import trim_png
from tests.bombs import png_chunk
from tests.pipeline.image.pictures import gradient, save
from tests.pipeline.image.profiles import make_rgb, to_profile


def with_text(text: str, times: int = 1, packed: bool = False, language: str | None = None) -> bytes:
    info = PngImagePlugin.PngInfo()
    for number in range(times):
        if language is None:
            info.add_text(f"workflow {number}", text, zip=packed)
        else:
            info.add_itxt(f"workflow {number}", text, language, "Ablauf", zip=packed)
    return save(gradient(), "PNG", pnginfo=info)


@pytest.mark.parametrize(
    ("length", "times", "packed"), [(3 << 20, 1, False), (3 << 20, 1, True), (1 << 20, 70, False), (100, 3, True)]
)
@pytest.mark.parametrize("language", [None, "de"])
def test_text_of_any_size_is_left_aside(length: int, times: int, packed: bool, language: str | None) -> None:
    data = with_text("x" * length, times, packed, language)
    assert (read_picture(data) == gradient()).all()
    assert (trim_png(data)[0] is data) == (length == 100)


def test_a_large_profile_is_used() -> None:
    icc = make_rgb()
    icc += np.random.default_rng(0).bytes((3 << 20) - len(icc))
    icc = len(icc).to_bytes(4, "big") + icc[4:]
    data = save(to_profile(gradient(), make_rgb()), "PNG", icc_profile=icc)
    decoded = decode_picture(data, Geometry(64, max_upscale=9))
    assert decoded.profile == "Display P3"
    assert np.abs(decoded.picture.astype(int) - gradient()).mean() < 3


@pytest.mark.parametrize("bomb", [zlib.compress(bytes(1 << 28)), b"\x78\x9c" + bytes(5000), b""])
@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_a_text_that_unpacks_to_very_much_costs_nothing(bomb: bytes, kind: bytes) -> None:
    data = save(gradient(), "PNG")
    chunk = png_chunk(kind, b"name\0\0" + bomb)
    assert (read_picture(data[:33] + chunk + data[33:]) == gradient()).all()
