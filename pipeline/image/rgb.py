"""Every mode that a file can have becomes RGB of 8 bits, and every colour profile sRGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.profile import Profile
from t2i_shards.pipeline.image.stored import Picture

STRIP = 1 << 20
"""Pixels that are converted to RGB at once."""


def convert_to_rgb(
    image: Image.Image, background: int, profile: Profile | None = None, opaque_bmp: bool = True
) -> Picture:
    """A strip at a time: Pillow's conversions would hold the whole picture several times over.

    profile: out of which the colours are converted to sRGB. opaque_bmp: a BMP that is transparent everywhere has
    no transparency; many programs leave its fourth byte at 0.
    """
    if image.mode in ("I", "F", "LAB"):
        raise Drop("unsupported mode")
    opaque = opaque_bmp and image.format == "BMP" and image.mode == "RGBA"
    opaque = opaque and image.getchannel("A").getextrema() == (0, 0)
    width, height = image.size
    rows = max(1, STRIP // width)
    if rows >= height:
        return _strip_to_rgb(image, background, profile, opaque)
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image.crop((0, top, width, bottom))
        picture[top:bottom] = _strip_to_rgb(strip, background, profile, opaque)
    return picture


def _strip_to_rgb(image: Image.Image, background: int, profile: Profile | None, opaque: bool) -> Picture:
    if image.mode.startswith("I;16"):
        # Pillow's convert clips 16-bit greys at 255.
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return profile.to_srgb(grey) if profile else np.repeat(grey[..., None], 3, axis=2)
    if profile and profile.mode == "CMYK":
        return profile.to_srgb(image)
    see_through = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if see_through and not opaque:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(below, image)
    if profile:
        return profile.to_srgb(image.convert(profile.mode))
    return np.ascontiguousarray(image.convert("RGB"))


def convert_to_srgb(picture: Picture, profile: Profile) -> Picture:
    """The pixels of a decoded picture out of their profile; a grey one has three equal bands."""
    rows = max(1, STRIP // picture.shape[1])
    converted = np.empty_like(picture)
    for top in range(0, len(picture), rows):
        strip = picture[top : top + rows]
        converted[top : top + rows] = profile.to_srgb(
            np.ascontiguousarray(strip[..., 0] if profile.mode == "L" else strip)
        )
    return converted
