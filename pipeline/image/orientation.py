"""EXIF orientation: which way up a stored picture is to be shown."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image

from t2i_shards.pipeline.image.stored import Picture

TURNED = (2, 3, 4, 5, 6, 7, 8)
"""EXIF orientations (EXIF 2.3, section 4.6.4, tag 0x0112) of pictures that are not stored upright."""
SIDEWAYS = (5, 6, 7, 8)
"""Those that swap width and height."""


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
