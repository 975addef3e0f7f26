"""The usual kinds of maps: pixels in one PNG, as grey levels, as indices into a palette, or in colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from t2i_shards.extractors.format import Format, Values, check_size
from t2i_shards.extractors.maps import png

if TYPE_CHECKING:
    from t2i_shards.extractors.maps.statistics import Statistic
    from t2i_shards.extractors.metrics.fidelity import Fidelity

OFF_PALETTE = 0.02
"""Share of pixels in colours that mean nothing from which an image is taken to be of another palette."""
MOSTLY_WHITE = 0.5


@dataclass(frozen=True)
class Pixels(Format):
    """A map of pixels in one member. The attributes are those of `Format`."""

    member: str
    meaning: str
    channels: int = 3
    fidelity: Fidelity | None = None
    statistic: Statistic | None = None

    @property
    def members(self) -> tuple[str, ...]:
        return (self.member,)

    @property
    def meanings(self) -> tuple[str, ...]:
        return (self.meaning,)


@dataclass(frozen=True)
class Grey(Pixels):
    """Map: uint8 (H, W), stored as grey PNG; the control image repeats it in each channel."""

    values: Values = "continuous"
    invertible: bool = True

    def encode(self, condition_map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_grey(condition_map)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_grey(members[self.member])

    def render(self, condition_map: np.ndarray, height: int, width: int) -> np.ndarray:
        check_size(condition_map.shape, height, width)
        return np.repeat(condition_map[:, :, None], self.channels, axis=2)

    def find_oddity(self, pixels: np.ndarray) -> str | None:
        share = float((pixels > 127).mean())
        if self.values == "edges" and share > MOSTLY_WHITE:
            return f"{share:.0%} of it is white, and lines are expected white on black"
        return None


@dataclass(frozen=True)
class Indexed(Pixels):
    """Map: uint8 (H, W), stored as palette PNG; the control image shows its colours.

    palette: uint8 (256, 3) RGB. palette_of: whose it is, for messages.
    """

    palette: np.ndarray = field(kw_only=True, compare=False)
    palette_of: str = field(kw_only=True)
    values: Values = "labels"

    def encode(self, condition_map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_indexed(condition_map, self.palette)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_indexed(members[self.member])

    def render(self, condition_map: np.ndarray, height: int, width: int) -> np.ndarray:
        check_size(condition_map.shape, height, width)
        return np.asarray(self.palette[condition_map])

    def find_oddity(self, pixels: np.ndarray) -> str | None:
        return find_other_colors(pixels, self.palette, self.palette_of)


@dataclass(frozen=True)
class Rgb(Pixels):
    """Map: uint8 (H // cell, W // cell, 3) RGB, stored as RGB PNG; the control image has the picture's size."""

    cell: int = 1

    def encode(self, condition_map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_rgb(condition_map)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_rgb(members[self.member])

    def empty(self, height: int, width: int) -> np.ndarray:
        return np.zeros((max(1, height // self.cell), max(1, width // self.cell), 3), np.uint8)

    def render(self, condition_map: np.ndarray, height: int, width: int) -> np.ndarray:
        if self.cell > 1:
            return np.asarray(cv2.resize(condition_map, (width, height), interpolation=cv2.INTER_NEAREST))
        check_size(condition_map.shape[:2], height, width)
        return condition_map


def find_other_colors(pixels: np.ndarray, palette: np.ndarray, palette_of: str) -> str | None:
    """What is odd of an image, uint8 (H, W, 3), many of whose colours are not in the palette, uint8 (N, 3)."""
    weights = np.array([1 << 16, 1 << 8, 1])
    share = float((~np.isin(pixels @ weights, palette @ weights)).mean())
    if share > OFF_PALETTE:
        return f"{share:.0%} of it has colours that are not those of {palette_of} (docs/conditions.md)"
    return None


def scale_to_grey(values: np.ndarray) -> np.ndarray:
    """Min-max of one map, float (H, W) -> uint8, rounded; a constant map, which has no range, is all zero."""
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros(values.shape, np.uint8)
    return np.asarray(np.rint((values - low) / (high - low) * 255), np.uint8)
