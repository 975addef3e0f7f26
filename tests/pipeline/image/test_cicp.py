"""Pictures whose colours are named by code numbers are stored in sRGB, as those with an embedded profile are."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.cicp import make_icc
from t2i_shards.pipeline.image.decode import decode_picture, read_picture
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.opened import prepare_codecs
from tests.pipeline.image.pictures import gradient, save, smooth
from tests.pipeline.image.profiles import P3, make_rgb, to_profile
from tests.pipeline.image.test_profile import distance

BT2020 = ((0.67348, 0.27904, -0.00194), (0.16565, 0.67534, 0.02998), (0.12506, 0.04561, 0.79684))
"""Colorants, adapted to D50, as published profiles have them."""


def with_codes(kind: str, picture: np.ndarray, primaries: int, curve: int, icc: bytes | None = None) -> bytes:
    """A file that names its colours by these codes."""
    prepare_codecs()
    if kind == "HEIF":
        codes = {"color_primaries": primaries, "transfer_characteristic": curve}
        return save(picture, kind, quality=98, chroma=444, icc_profile=icc, **codes)
    if kind == "AVIF":
        data = save(picture, kind, quality=98, subsampling="4:4:4", speed=9, icc_profile=icc)
        head, mark, rest = data.partition(b"colrnclx")
        assert mark
        return head + mark + struct.pack(">HH", primaries, curve) + rest[4:]
    data = save(picture, kind, **({"icc_profile": icc} if icc else {}))
    chunk = b"cICP" + bytes([primaries, curve, 0, 1])
    return data[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


@pytest.mark.parametrize("kind", ["PNG", "AVIF", "HEIF"])
@pytest.mark.parametrize(
    ("codes", "colorants", "name"),
    [((12, 13), P3, "Display P3 (H.273 12/13)"), ((9, 13), BT2020, "BT.2020 (H.273 9/13)")],
)
def test_colours_come_out_as_they_were(
    kind: str, codes: tuple[int, int], colorants: tuple[tuple[float, ...], ...], name: str
) -> None:
    truth = smooth(96, 128)
    data = with_codes(kind, to_profile(truth, make_rgb(colorants)), *codes)
    decoded = decode_picture(data, Geometry(64))
    assert decoded.profile == name
    assert distance(decoded.picture, truth).mean() < 1.5
    assert (
        distance(read_picture(with_codes(kind, to_profile(truth, make_rgb(colorants)), 1, 13)), truth).mean() > 2
    )


def test_a_curve_that_is_a_power() -> None:
    values = np.tile(np.arange(64, 256, 3, dtype=np.uint8)[None, :, None], (64, 1, 3))
    linear = np.round(255 * ((values / 255 + 0.055) / 1.055) ** 2.4).astype(np.uint8)
    found = read_picture(with_codes("PNG", linear, 1, 8)).astype(int)
    assert np.abs(found - values).max() <= 4


def test_a_camera_of_television_has_the_curve_of_screens() -> None:
    picture, files = gradient(), [with_codes("PNG", gradient(), 9, curve) for curve in (13, 14, 1)]
    srgb, wide, old = (read_picture(file) for file in files)
    assert (srgb != picture).any()
    assert (srgb == wide).all()
    assert (srgb == old).all()


@pytest.mark.parametrize("codes", [(1, 13), (1, 1), (2, 2), (9, 16), (12, 18), (0, 0), (255, 255), (22, 13)])
@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
def test_srgb_and_what_is_not_known_change_no_pixel(kind: str, codes: tuple[int, int]) -> None:
    """Those of screens of high brightness among them."""
    assert not make_icc(*codes)
    decoded = decode_picture(with_codes(kind, gradient(), *codes), Geometry(64, max_upscale=9))
    assert decoded.profile is None
    if kind == "PNG":
        assert (decoded.picture == gradient()).all()


@pytest.mark.parametrize(
    ("kind", "codes", "name"),
    [
        ("PNG", (9, 14), "BT.2020 (H.273 9/14)"),
        ("PNG", (1, 13), None),
        ("PNG", (9, 16), "Display P3"),
        ("PNG", (2, 2), "Display P3"),
        ("HEIF", (9, 14), "Display P3"),
    ],
)
def test_of_codes_and_an_embedded_profile_codes_that_are_known_go_first_in_png(
    kind: str, codes: tuple[int, int], name: str | None
) -> None:
    data = with_codes(kind, gradient(), *codes, make_rgb())
    assert decode_picture(data, Geometry(64, max_upscale=9)).profile == name


def test_grey_has_no_primaries() -> None:
    data = with_codes("PNG", np.asarray(Image.fromarray(gradient()).convert("L")), 12, 13)
    assert decode_picture(data, Geometry(64, max_upscale=9)).profile is None


@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
def test_a_cut_file_is_a_picture_or_a_drop_whatever_its_boxes_say(kind: str) -> None:
    data = with_codes(kind, gradient(), 12, 13)
    damaged = [data[:length] for length in range(8, 200, 3)]
    damaged += [data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :] for at in range(8, 300, 5)]
    for some in damaged:
        with suppress(Drop):
            read_picture(some)
