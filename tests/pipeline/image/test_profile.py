"""Pictures with a colour profile are stored in sRGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab

from t2i_shards.pipeline.image.decode import decode_picture, read_picture
from t2i_shards.pipeline.image.geometry import Geometry, LegacyGeometry
from tests.conftest import CASES
from tests.pipeline.image.pictures import gradient, save, smooth
from tests.pipeline.image.profiles import make_grey, make_inks, make_rgb, to_profile

FIELDS = np.array([[(220, 30, 30), (30, 200, 30)], [(30, 30, 220), (128, 128, 128)]], np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def distance(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """CIE Delta E 2000 of each pixel."""
    return np.asarray(deltaE_ciede2000(rgb2lab(found), rgb2lab(truth)))


def fields(picture: np.ndarray) -> np.ndarray:
    """The middle of each quarter."""
    height, width = picture.shape[:2]
    return picture[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2].astype(int)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_a_photograph_in_display_p3_comes_out_in_its_own_colours(kind: str) -> None:
    truth = smooth(200, 300)
    options = {"lossless": True} if kind == "WEBP" else {"quality": 98, "subsampling": "4:4:4"}
    data = save(
        to_profile(truth, make_rgb()), kind, icc_profile=make_rgb(), **(options if kind[0] in "JWA" else {})
    )
    decoded = decode_picture(data, Geometry(128))
    assert decoded.profile == "Display P3"
    assert distance(decoded.picture, truth).mean() < 1.5
    without = decode_picture(data, LegacyGeometry(128))
    assert without.profile is None
    assert distance(without.picture, truth).mean() > 2


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "L", "I;16"])
def test_every_mode_goes_through_its_profile(mode: str) -> None:
    if mode in ("RGBA", "P"):
        truth = np.repeat(np.repeat(FIELDS, 32, axis=0), 32, axis=1)
        image = (
            Image.fromarray(to_profile(truth, make_rgb())).quantize(8)
            if mode == "P"
            else Image.fromarray(
                np.dstack([to_profile(truth, make_rgb()), np.full(truth.shape[:2], 255, np.uint8)])
            )
        )
        found = read_picture(save(image, "PNG", icc_profile=make_rgb())).astype(int)
    else:
        values = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
        grey = np.round(255 * ((values / 255 + 0.055) / 1.055) ** 2.4)
        truth = np.repeat(values[..., None], 3, axis=2)[:, 16:]  # 8 bits of light are too coarse for dark greys
        grey = grey[:, 16:]
        image = (
            Image.fromarray((grey * 257).astype(np.uint16))
            if mode == "I;16"
            else Image.fromarray(grey.astype(np.uint8)).convert(mode)
        )
        found = read_picture(save(image, "PNG", icc_profile=make_grey(1.0))).astype(int)
    assert np.abs(found - truth).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_become_what_the_press_prints(kind: str) -> None:
    def colour(inks: tuple[int, ...]) -> tuple[float, float, float]:
        if inks == (1, 0, 0, 0):
            return 60, -30, -40
        return (0, 0, 0) if any(inks) else (100, 0, 0)

    image = Image.new("CMYK", (64, 64), (255, 0, 0, 0))
    found = read_picture(
        save(image, kind, icc_profile=make_inks(colour), **({"quality": 100} if kind == "JPEG" else {}))
    )
    truth = lab2rgb(np.array([[[60.0, -30, -40]]]))
    assert distance(found / 255, np.broadcast_to(truth, found.shape)).max() < 3
    assert np.abs(read_picture(save(image, kind)).astype(int) - (0, 255, 255)).max() <= 2


@pytest.mark.parametrize(
    "icc", [SRGB, make_rgb(name="x")[:300], b"no profile", make_grey(1.0), b"\0" * (5 << 20), None]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_is_no_other_profile_changes_no_pixel(icc: bytes | None, kind: str) -> None:
    """sRGB itself, a cut one, none, one of grey pictures, one that is too large."""
    picture = gradient()
    options: dict[str, Any] = {"icc_profile": icc} if icc else {}
    decoded = decode_picture(save(picture, kind, **options), Geometry(64, max_upscale=9))
    assert decoded.profile is None
    assert (decoded.picture == read_picture(save(picture, kind))).all()


def test_the_description_of_a_profile_is_plain_text() -> None:
    icc = make_rgb(name="Ro\x1b[31msa\n" + 300 * "x")
    name = decode_picture(save(gradient(), "PNG", icc_profile=icc), Geometry(64, max_upscale=9)).profile
    assert name is not None
    assert name.isprintable()
    assert len(name) <= 100


@pytest.mark.parametrize("name", ["icc_p3.png", "icc_prophoto.png", "icc_p3.jpg", "icc_prophoto.jpg"])
def test_the_collected_fields(name: str) -> None:
    if not CASES.is_dir():
        pytest.skip("needs ../shared/cases, which is not beside this checkout")
    found = fields(read_picture((CASES / "folder/profiles" / name).read_bytes()))
    if name.endswith(".png"):
        assert np.abs(found - FIELDS).max() <= 3
    # A JPEG has rounded the colours to 8 bits in its own space, which is worth more in dark sRGB.
    assert distance(found / 255, FIELDS / 255).max() < 2


def test_a_real_photograph(assets: Path) -> None:
    path = next((assets / "images").rglob("*.jpg"))
    truth = read_picture(path.read_bytes())
    data = save(to_profile(truth, make_rgb()), "JPEG", quality=95, icc_profile=make_rgb())
    assert distance(read_picture(data), truth).mean() < 2
