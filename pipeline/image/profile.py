"""Colour profiles in pictures: their pixels become sRGB, which is what networks and screens take them for."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

MAX_BYTES = 4 << 20
"""Of a profile; those of printing presses take 2 MiB."""
NEARLY = 2
"""Levels by which a profile's colours may differ from sRGB's and still be the same: sRGB has many writers."""

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""The colour space of a profile -> the mode of the pixels that it describes."""


@dataclass(frozen=True)
class Profile:
    """The way from a profile to sRGB. name: its own description. mode: of the pixels it takes, RGB, L or CMYK."""

    name: str
    mode: str
    _transform: Any

    def to_srgb(self, pixels: np.ndarray | Image.Image) -> np.ndarray:
        """uint8 (H, W, 3). pixels: a picture of the profile's mode."""
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        converted = ImageCms.applyTransform(image, self._transform)
        return np.asarray(converted)


def find_profile(icc: bytes | None, mode: str) -> Profile | None:
    """The profile of a picture of this mode, to be applied.

    None where there is none, where it is sRGB, and where it cannot be read or is of another kind of picture: such
    a picture is taken as it is.
    """
    if not icc or len(icc) > MAX_BYTES:
        return None
    profile = _read_profile(bytes(icc))
    return profile if profile and profile.mode == mode_of_profile(mode) else None


def mode_of_profile(mode: str) -> str:
    """Which kind of profile describes pictures of one of Pillow's modes: RGB, L or CMYK."""
    if mode in ("1", "L", "LA", "La") or mode.startswith("I;16"):
        return "L"
    return "CMYK" if mode == "CMYK" else "RGB"


@functools.lru_cache(maxsize=8)
def _read_profile(icc: bytes) -> Profile | None:
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = _MODES[found.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(
            found,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        name = ImageCms.getProfileDescription(found)
    except (ImageCms.PyCMSError, OSError, ValueError, KeyError, TypeError):
        return None
    plain = "".join(character for character in name.strip() if character.isprintable())[:100]
    profile = Profile(plain or "unnamed", mode, transform)
    return None if _is_srgb(profile) else profile


def _is_srgb(profile: Profile) -> bool:
    if profile.mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    if profile.mode == "L":
        colours = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 256, 1), 3, axis=2)
    given = colours if profile.mode == "RGB" else np.ascontiguousarray(colours[..., 0])
    return bool(np.abs(profile.to_srgb(given).astype(int) - colours).max() <= NEARLY)
