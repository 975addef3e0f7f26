"""Formats of telephones, and pictures of more pixels than the common limit."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from t2i_shards.extractors import budget
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.decode import WEB_FORMATS, decode_picture, read_picture
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.opened import prepare_codecs, trim_png
from tests.bombs import flat_png, png_chunk
from tests.pipeline.image.pictures import UPRIGHT, gradient, save, smooth
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


@pytest.fixture(autouse=True)
def codecs() -> None:
    prepare_codecs()


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_pictures_of_telephones(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    truth = smooth(96, 128)
    data = save(to_profile(truth, make_rgb()), kind, quality=95, icc_profile=make_rgb(), exif=exif.tobytes())
    decoded = decode_picture(data, Geometry(64))
    assert decoded.profile == "Display P3"
    upright = UPRIGHT[orientation](truth)
    assert decoded.size == upright.shape[1::-1]
    assert np.abs(decoded.picture.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_they_are_guarded_as_all_others(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(gradient(128, 160), kind)
    for cut in (40, len(data) // 2, len(data) - 3):
        with pytest.raises(Drop, match=r"^(truncated|not a picture)$"):
            read_picture(data[:cut])
    with pytest.raises(Drop, match="not a picture"):
        read_picture(data, WEB_FORMATS)
    monkeypatch.setattr(budget, "MEMORY", 128 * 160 * 20)
    with pytest.raises(Drop, match="too many pixels"):
        read_picture(data)


def test_a_sequence_is_animated_and_a_burst_is_its_first_picture() -> None:
    frames = [Image.fromarray(gradient(64, 80)), Image.new("RGB", (80, 64), "red")]
    with pytest.raises(Drop, match="animated"):
        read_picture(save(frames[0], "AVIF", save_all=True, append_images=frames[1:]))
    burst = read_picture(save(frames[0], "HEIF", save_all=True, append_images=frames[1:], quality=95))
    assert np.abs(burst.astype(int) - gradient(64, 80)).mean() < 6


PEAK = """
import io, resource, sys
from t2i_shards.pipeline.image.decode import decode_picture
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.opened import prepare_codecs
from PIL import Image
prepare_codecs()
side = int(sys.argv[2])
small = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_picture(small, Geometry(64))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / side**2)
"""


@pytest.mark.soak
@pytest.mark.parametrize(("kind", "limit"), [("AVIF", 26), ("HEIF", 32)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_they_take_no_more_memory_than_is_reckoned(kind: str, limit: int, mode: str, tmp_path: Path) -> None:
    side = 1600
    image = Image.fromarray(np.tile(smooth(200, 200), (8, 8, 1))).convert(mode)
    options: dict[str, Any] = (
        {"quality": 40, "chroma": 444} if kind == "HEIF" else {"quality": 40, "speed": 10, "subsampling": "4:4:4"}
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "p").write_bytes(save(image, kind, exif=exif, **options))
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "p"), str(side)], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < limit


def test_more_pixels_are_taken_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit a hundred times lower, so that the pictures are small."""
    monkeypatch.setattr(budget, "PIXELS", 1_000_000)
    monkeypatch.setattr(budget, "MEMORY", 1_000_000 * 10.5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900_000)
    for data in (
        flat_png(2000, 1200, 0),
        save(smooth(1200, 2000), "JPEG"),
        save(smooth(1200, 2000), "JPEG", progressive=True),
    ):
        with pytest.raises(Drop, match="too many pixels"):
            decode_picture(data, Geometry(64, max_pixels=1_000_000))
        decoded = decode_picture(data, Geometry(64, max_pixels=2_400_000))
        assert decoded.size == (2000, 1200)
        with pytest.raises(Drop, match="too many pixels"):
            decode_picture(data, Geometry(64, max_pixels=2_399_999))
    assert Image.MAX_IMAGE_PIXELS == 900_000


def test_no_pixel_at_all_is_a_wrong_request() -> None:
    with pytest.raises(RequestError, match="--max-pixels must be at least 1, not 0"):
        Geometry(max_pixels=0)
