"""Every mode that a file can have becomes RGB of 8 bits."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.errors import Drop
from pipeline.image.stored import Picture

STRIP = 1 << 20
"""Pixels that are converted to RGB at once."""


def convert_to_rgb(image: Image.Image, background: int) -> Picture:
    """A strip at a time: Pillow's conversions would hold the whole picture several times over."""
    if image.mode in ("I", "F", "LAB"):
        raise Drop("unsupported mode")
    width, height = image.size
    rows = max(1, STRIP // width)
    if rows >= height:
        return _strip_to_rgb(image, background)
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        picture[top:bottom] = _strip_to_rgb(image.crop((0, top, width, bottom)), background)
    return picture


def _strip_to_rgb(image: Image.Image, background: int) -> Picture:
    if image.mode.startswith("I;16"):
        # Pillow's convert clips 16-bit greys at 255.
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(below, image)
    return np.ascontiguousarray(image.convert("RGB"))
