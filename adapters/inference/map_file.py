"""Files that people give as maps and masks: what transparency means in them, and what looks wrong.

Maps are white on black in the published adapters' colours; drawing programs and other tools save black on white,
with a transparent background, or in another palette. What can be read either way is read as it was meant; what
only looks wrong is used as it is, with a warning that says what was expected.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from extractors.maps.palette import PALETTE
from extractors.maps.people import PEOPLE_PALETTE
from pipeline.errors import Drop, RequestError
from pipeline.image.decode import read_picture

OFF_PALETTE = 0.02
"""Share of pixels in colours that mean nothing from which a map of labels is taken to be of another palette."""
MOSTLY_WHITE = 0.5
NEARLY_BLACK = 26
"""A depth map is min-max scaled, so that something in it is near: its brightest pixel is far above this."""


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


def describe_oddity(condition: str, pixels: np.ndarray) -> str | None:
    """What looks wrong in a map, uint8 (H, W) or (H, W, 3), and what is expected; None when nothing does."""
    if condition in ("sketch", "canny") and (share := float((pixels > 127).mean())) > MOSTLY_WHITE:
        return f"{share:.0%} of it is white, and lines are expected white on black; try --invert {condition}"
    if condition == "depth" and (most := int(pixels.max())) < NEARLY_BLACK:
        return f"its brightest pixel is {most} of 255, and near is expected white: a depth map scaled to 0..255"
    palettes = {"seg": (PALETTE, "COCO-Stuff's labels"), "keypose": (PEOPLE_PALETTE, "a COCO-17 drawing")}
    if condition in palettes:
        palette, meaning = palettes[condition]
        if (share := _share_off(pixels, palette)) > OFF_PALETTE:
            return f"{share:.0%} of it has colours that are none of {meaning}'s (docs/conditions.md)"
    return None


def _share_off(pixels: np.ndarray, palette: np.ndarray) -> float:
    weights = np.array([1 << 16, 1 << 8, 1])
    return float((~np.isin(pixels @ weights, palette @ weights)).mean())
