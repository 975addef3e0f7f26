"""Files that people give as maps and masks, and what transparency means in them.

Maps are white on black in the published adapters' colours; drawing programs and other tools save black on white,
with a transparent background, or in another palette. What can be read either way is read as it was meant; what
only looks wrong (`Format.find_oddity`) is used as it is, with a warning that says what was expected.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.decode import read_picture


def load_picture(path: Path, background: int = 255) -> np.ndarray:
    """uint8 (H, W, 3), upright; what is transparent lies on `background`. Raises RequestError."""
    try:
        return read_picture(path.read_bytes(), background=background)
    except FileNotFoundError:
        raise RequestError(f"there is no file {path}") from None
    except Drop as drop:
        raise RequestError(f"{path} must be a picture: {drop.reason}") from None


def load_shape(path: Path) -> np.ndarray:
    """uint8 (H, W): a mask or a line drawing, white on black. Raises RequestError.

    A picture whose visible part is all dark or all bright says by its transparency alone where the shape is (black
    or white lines on a transparent sheet); any other lies on black.
    """
    on_black, on_white = load_picture(path, 0), load_picture(path, 255)
    alpha = 255 - (on_white - on_black).max(axis=2)
    grey = cv2.cvtColor(on_black, cv2.COLOR_RGB2GRAY)
    if alpha.min() == 255:
        return grey
    bright = grey[alpha > 127] > 127
    return grey if bright.any() and not bright.all() else alpha
