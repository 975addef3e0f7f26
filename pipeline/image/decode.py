"""Pictures of unknown origin: their bytes become RGB, upright, within the budget, or a drop with its reason."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

from t2i_shards.extractors import budget
from t2i_shards.extractors.budget import TooCostly
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.jpeg import choose_factor, decode_jpeg
from t2i_shards.pipeline.image.opened import DAMAGED, OpenedPicture, open_picture
from t2i_shards.pipeline.image.profile import Profile, find_profile
from t2i_shards.pipeline.image.rgb import convert_to_rgb, convert_to_srgb
from t2i_shards.pipeline.image.stored import Picture

TURNED = (2, 3, 4, 5, 6, 7, 8)
"""EXIF orientations (EXIF 2.3, section 4.6.4, tag 0x0112) of pictures that are not stored upright."""
SIDEWAYS = (5, 6, 7, 8)
"""Those that swap width and height."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
WEB_FORMATS = ("JPEG", "PNG", "WEBP")
"""What is accepted from the web: the formats whose decoders browsers have hardened."""


def read_orientation(image: Image.Image) -> int:
    """1 to 8; 1, upright, where the picture does not say."""
    turn: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    return turn


def turn_upright(picture: Picture, orientation: int) -> Picture:
    """Upright, by the EXIF orientation of the stored picture."""
    if orientation in SIDEWAYS:
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


@dataclass(frozen=True)
class Decoded:
    """A picture as it was decoded, upright. size: (width, height) of the whole picture; a JPEG that shrinks may
    have been decoded at a half, a quarter or an eighth of it.

    profile: the name of the colour profile out of which it was converted to sRGB, None where it was not.
    turned: its pixels are stored another way up, and were turned or mirrored as its EXIF says.
    """

    picture: Picture
    size: tuple[int, int]
    profile: str | None = None
    turned: bool = False


def read_picture(data: bytes, formats: tuple[str, ...] = FORMATS, background: int = 255) -> Picture:
    """Decode bytes of unknown origin to sRGB, upright by their EXIF orientation.

    Grey, palette, CMYK and 16-bit pictures become 8-bit RGB; what is transparent lies on `background`, white by
    default; of several pages or views the first is taken. Raises Drop: "not a picture", "too many pixels",
    "too many scans", "too much metadata", "animated", "truncated", "unsupported mode".
    """
    return _decode(data, None, formats, background).picture


def decode_picture(data: bytes, geometry: Geometry, formats: tuple[str, ...] = FORMATS) -> Decoded:
    """Decode bytes of unknown origin as far as the geometry needs them; drops as `read_picture` has them.

    Raises Drop("too small") by the header alone, nothing of it decoded.
    """
    return _decode(data, geometry, formats)


def _decode(data: bytes, geometry: Geometry | None, formats: tuple[str, ...], background: int = 255) -> Decoded:
    try:
        header = budget.read_jpeg_header(data) if data[:2] == b"\xff\xd8" else None
        if header and header.plain and "JPEG" in formats:
            budget.check_pixels(header.width, header.height, _most_pixels(geometry))
            decoded = _decode_jpeg(data, (header.width, header.height), header.coefficient_bytes, geometry)
            if decoded is not None:
                return decoded
        with warnings.catch_warnings():
            # Pillow warns of pictures that are large and of some that are damaged; both are judged here.
            warnings.simplefilter("ignore")
            opened = open_picture(data, formats, _most_pixels(geometry), header.coefficient_bytes if header else 0)
            return _decode_opened(data, opened, geometry, background)
    except TooCostly as error:
        raise Drop(error.reason) from None
    except DAMAGED:
        raise Drop("truncated") from None


def _most_pixels(geometry: Geometry | None) -> int:
    return geometry.max_pixels if geometry else budget.PIXELS


def _decode_opened(data: bytes, opened: OpenedPicture, geometry: Geometry | None, background: int) -> Decoded:
    image, legacy = opened.image, geometry is not None and geometry.legacy
    if geometry:
        geometry.place(*image.size)  # drops what is too small, before EXIF makes Pillow read on
    profile = None if legacy else find_profile(opened.icc, image.mode)
    # MPO is a JPEG with further views behind it, as telephones write it; the first is the photograph.
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
        turn = read_orientation(image)
        decoded = _decode_jpeg(data, image.size, opened.coefficient_bytes, geometry, turn, profile)
        if decoded is not None:
            return decoded
    opened.check_memory()
    turn = read_orientation(image)
    if opened.animated or (legacy and getattr(image, "n_frames", 1) > 1 and image.format == "TIFF"):
        raise Drop("animated")
    image.load()
    # Pillow has turned a TIFF by now, and no other.
    picture = convert_to_rgb(image, background, profile, opaque_bmp=not legacy)
    picture = turn_upright(picture, 1 if image.format == "TIFF" else turn)
    size = picture.shape[1], picture.shape[0]
    return Decoded(picture, size, profile.name if profile else None, turn in TURNED)


def _decode_jpeg(
    data: bytes,
    size: tuple[int, int],
    coefficient_bytes: int,
    geometry: Geometry | None,
    turn: int = 1,
    profile: Profile | None = None,
) -> Decoded | None:
    """None for what is damaged or unusual. size: (width, height) as it is stored."""
    upright = size[::-1] if turn in SIDEWAYS else size
    factor = choose_factor(upright, turn, geometry)
    allowance = geometry.allowance if geometry else 1.0
    budget.check_memory(size[0] * size[1], (coefficient_bytes + 6 / factor**2) / allowance)
    picture = decode_jpeg(data, size, factor, legacy=geometry is not None and geometry.legacy)
    if picture is None:
        return None
    if profile:
        picture = convert_to_srgb(picture, profile)
    return Decoded(turn_upright(picture, turn), upright, profile.name if profile else None, turn in TURNED)
