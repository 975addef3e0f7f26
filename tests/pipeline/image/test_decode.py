"""Pictures of strangers: what is damaged, too costly or no picture is a named drop, and nothing else is raised."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.decode import WEB_FORMATS, decode_picture, read_picture
from t2i_shards.pipeline.image.geometry import Geometry, apply_placement
from t2i_shards.pipeline.image.stored import decode_rgb
from tests.pipeline.image.pictures import UPRIGHT, gradient, mean_reference, png16, save, smooth


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


REASONS = {"ok", "not a picture", "too many pixels", "animated", "truncated", "unsupported mode"}


def reason(data: bytes) -> str:
    with pytest.raises(Drop) as caught:
        read_picture(data)
    return caught.value.reason


def outcome(data: bytes) -> str:
    """ok, or why it was dropped; whatever else is raised is a fault."""
    try:
        assert read_picture(data).shape[2] == 3
    except Drop as drop:
        return drop.reason
    return "ok"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animated_pictures_are_a_named_drop(kind: str) -> None:
    frames = [Image.fromarray(np.roll(gradient(), 9 * i, axis=1)) for i in range(3)]
    assert reason(save(frames[0], kind, save_all=True, append_images=frames[1:])) == "animated"
    assert read_picture(save(frames[0], kind)).shape == (48, 64, 3)


def test_of_several_pages_the_first_is_the_picture() -> None:
    pages = [Image.fromarray(gradient()), Image.new("RGB", (30, 20), "red")]
    assert (read_picture(save(pages[0], "TIFF", save_all=True, append_images=pages[1:])) == gradient()).all()


def test_a_telephones_jpeg_gives_its_photograph() -> None:
    view = Image.fromarray(gradient())
    data = save(view, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")], quality=95)
    assert data.count(b"MPF\0") >= 1
    assert np.abs(read_picture(data).astype(int) - gradient()).mean() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_cut_and_damaged_files_are_named_drops(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = save(Image.fromarray(noise), kind)
    half = reason(data[: len(data) // 2])
    assert half in {"truncated", "not a picture"}
    rng = random.Random(kind)
    for _ in range(300):
        damaged = bytearray(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data)
        for _ in range(rng.choice((1, 8))):
            if damaged:
                # Most of what a decoder branches on is near the start.
                damaged[min(int(rng.expovariate(1 / 60)), len(damaged) - 1)] = rng.randrange(256)
        assert outcome(bytes(damaged)) in REASONS


def test_damaged_exif_is_no_failure() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(gradient(), "JPEG", exif=exif)
    start = data.index(b"Exif")
    for offset in range(6, 40):
        for value in (0, 255):
            damaged = bytearray(data)
            damaged[start + offset] = value
            assert outcome(bytes(damaged)) in REASONS


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"<html>not found</html>", b"%PDF-1.4", b"GIF89a"])
def test_what_is_no_picture(data: bytes) -> None:
    assert reason(data) == "not a picture"


@pytest.mark.parametrize(("width", "height"), [(10001, 10000), (30000, 30000), (65535, 65535)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    small = bytearray(save(np.zeros((8, 8, 3), np.uint8), "PNG"))
    small[16:24] = struct.pack(">II", width, height)
    small[29:33] = struct.pack(">I", zlib.crc32(bytes(small[12:29])))

    def decode(*_: Any) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    assert reason(bytes(small)) == "too many pixels"


@pytest.mark.parametrize("sides", [(700, 1100), (257, 513), (1023, 640), (129, 200), (2100, 530)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_that_is_decoded_smaller_lies_where_the_whole_one_does(
    sides: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = smooth(*sides)
    data = save(stored, "JPEG", quality=98, subsampling=0, exif=exif)
    geometry = Geometry(size=128)
    decoded = decode_picture(data, geometry)
    upright = UPRIGHT[orientation](stored)
    assert decoded.size == upright.shape[1::-1]
    placement = geometry.place(*decoded.size)
    found = apply_placement(decoded.picture, placement).astype(float)
    x, y, width, height = placement.crop
    reference = mean_reference(upright, placement.resized[1], placement.resized[0])
    error = np.abs(found - reference[y : y + height, x : x + width])
    assert error.mean() < 1.5
    shifted = np.abs(found[:, 1:] - reference[y : y + height, x : x + width][:, :-1])
    assert error.mean() < shifted.mean() / 2


def test_only_what_shrinks_to_a_half_or_less_is_decoded_smaller() -> None:
    geometry = Geometry(size=128)
    sides = {128: 128, 255: 255, 256: 128, 300: 150, 511: 256, 512: 128, 1000: 250, 2000: 250}
    data = {side: save(gradient(side, side), "JPEG") for side in sides}
    assert {side: decode_picture(data[side], geometry).picture.shape[0] for side in sides} == sides
    assert read_picture(data[2000]).shape == (2000, 2000, 3)


def test_a_cut_jpeg_is_dropped_at_every_size() -> None:
    for side in (200, 900):
        data = save(smooth(side, side), "JPEG", quality=95)
        with pytest.raises(Drop, match=r"^truncated$"):
            decode_picture(data[: len(data) // 2], Geometry(size=128))


def test_small_and_foreign_pictures_are_refused_by_their_header() -> None:
    # The pixels are missing, so a decoder that read them would report "truncated".
    head = png16(3, np.zeros((20, 20, 3), np.uint16))[:60]
    with pytest.raises(Drop, match=r"^too small$"):
        decode_picture(head, Geometry(size=64))
    with pytest.raises(Drop, match=r"^not a picture$"):
        decode_picture(save(gradient(), "BMP"), Geometry(size=64), WEB_FORMATS)
