"""Pictures of strangers: all kinds become RGB or a named drop, and the geometry puts every point where it says."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import Drop, RequestError
from pipeline.image import (
    CELL,
    WEB_FORMATS,
    Geometry,
    Placement,
    apply_placement,
    decode_picture,
    decode_rgb,
    encode_jpeg,
    read_picture,
)

REASONS = {"ok", "not a picture", "too many pixels", "animated", "truncated", "unsupported mode"}


def gradient(height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 (height, width, 3): no two of its rotations and mirror images are alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + 2 * y) % 256], axis=2).astype(np.uint8)


def save(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, kind, **options)
    return file.getvalue()


def png16(channels: int, values: np.ndarray) -> bytes:
    """A 16-bit PNG, which Pillow writes only in grey. values: uint16 (H, W, channels)."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


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


# What EXIF says of the stored picture, and what puts it upright (EXIF 2.3, section 4.6.4, tag 0x0112).
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = lossless.get(kind, {})
    stored = gradient()
    found = read_picture(save(stored, kind, exif=exif, **options))
    expected = UPRIGHT[orientation](stored)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (8 if kind == "JPEG" else 0)


def test_a_stored_picture_is_not_turned_again() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_rgb(save(gradient(), "JPEG", exif=exif)).shape == (48, 64, 3)


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
    assert reason(save(Image.new(mode, (64, 64)), "TIFF")) == "unsupported mode"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animated_pictures_are_a_named_drop(kind: str) -> None:
    frames = [Image.fromarray(np.roll(gradient(), 9 * i, axis=1)) for i in range(3)]
    assert reason(save(frames[0], kind, save_all=True, append_images=frames[1:])) == "animated"
    assert read_picture(save(frames[0], kind)).shape == (48, 64, 3)


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
    dice = random.Random(kind)
    for _ in range(300):
        damaged = bytearray(data[: dice.randrange(len(data))] if dice.random() < 0.3 else data)
        for _ in range(dice.choice((1, 8))):
            if damaged:
                # Most of what a decoder branches on stands near the start.
                damaged[min(int(dice.expovariate(1 / 60)), len(damaged) - 1)] = dice.randrange(256)
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
    assert w % CELL == h % CELL == 0
    assert min(w, h) == min(placement.resized) == size
    assert max(w, h) <= (size if fit == "square" else 2 * size)
    # Nothing more is cut than the multiple of 64 and the aspect of two ask for.
    for side, resized in ((w, placement.resized[0]), (h, placement.resized[1])):
        assert side > min(resized, 2 * size if fit == "aspect" else size) - CELL
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
    dice = random.Random(3)
    placement = Geometry(256).place(width, height)
    left, top, w, h = placement.crop
    for _ in range(20):
        # A dot that lies inside the crop.
        x = dice.randrange(12, w - 12) + left
        y = dice.randrange(12, h - 12) + top
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


def test_the_stored_picture() -> None:
    data = encode_jpeg(gradient(), 95)
    assert data == encode_jpeg(gradient().copy(), 95)
    assert np.abs(decode_rgb(data).astype(int) - gradient()).mean() < 3
    # Red stays red: OpenCV's order is blue first.
    assert decode_rgb(encode_jpeg(np.full((64, 64, 3), (250, 5, 5), np.uint8), 95))[0, 0, 0] > 200
    with pytest.raises(ValueError, match="not a JPEG"):
        decode_rgb(b"no picture")


def smooth(height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): structure at every scale, as photographs have it."""
    random = np.random.default_rng(5)
    total = np.zeros((height, width, 3))
    for scale in (4, 16, 64, 256):
        rough = Image.fromarray(random.integers(0, 256, (scale, scale, 3), dtype=np.uint8))
        total += np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC), float) / scale**0.5
    total -= total.min()
    return (total * 255 / total.max()).astype(np.uint8)


def mean_reference(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 (height, width, 3): each pixel the exact mean of the area that it covers."""

    def weights(into: int, out: int) -> np.ndarray:
        edges = np.arange(out + 1) * into / out
        pixels = np.arange(into)
        return (
            np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, None)
            * out
            / into
        )

    rows, columns = weights(picture.shape[0], height), weights(picture.shape[1], width)
    return np.einsum("yh,hwc,xw->yxc", rows, picture.astype(float), columns, optimize=True)


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
    # The pixels are not there at all, so whoever looked at them would say "truncated".
    head = png16(3, np.zeros((20, 20, 3), np.uint16))[:60]
    with pytest.raises(Drop, match=r"^too small$"):
        decode_picture(head, Geometry(size=64))
    with pytest.raises(Drop, match=r"^not a picture$"):
        decode_picture(save(gradient(), "BMP"), Geometry(size=64), WEB_FORMATS)


@pytest.mark.parametrize("side", [140, 160, 192, 230, 255, 256, 300, 700])
def test_a_picture_that_shrinks_is_nearer_to_the_mean_than_a_bicubic_one(side: int) -> None:
    """Noise, where whoever leaves pixels out is farthest off."""
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    found = apply_placement(picture, Geometry(size=128).place(side, side)).astype(float)
    bicubic = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_CUBIC).astype(float)
    mean = mean_reference(picture, 128, 128)
    assert np.square(found - mean).mean() < 0.7 * np.square(bicubic - mean).mean()
    assert side < 256 or np.abs(found - mean).max() <= 1
