"""Colour: one colour per 64x64 cell, as the published spatial-palette adapter saw it.

cv2.resize bicubic down by 64 without antialiasing (equal bit for bit to torch's bicubic, antialias=False);
PIL's bicubic differs by about 30 grey levels. The map belongs to one crop: a further crop needs a new one.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.batch import Batch, as_batch
from t2i_shards.extractors.maps.formats import Rgb
from t2i_shards.extractors.metrics.fidelity import Fidelity, Measure
from t2i_shards.extractors.metrics.maps import count_colors, mean_of

CELL_SIDE = 64
FORMAT = Rgb(
    "color.png",
    "the picture in cells of 64x64 pixels, RGB",
    cell=CELL_SIDE,
    fidelity=Fidelity(
        (Measure("color_error", "colour error", "lower"),),
        count_colors,
        lambda sums: {"color_error": mean_of(sums)},
    ),
)


class Color:
    """Extractor of the colour map. Maps: uint8 (max(1, H // 64), max(1, W // 64), 3) RGB."""

    condition = "color"
    format = FORMAT
    resources = Resources(cpus=1.0, memory=64 << 20)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant

    def recipe(self) -> dict[str, Any]:
        return {
            "extractor": "color",
            "version": 1,
            "variant": self.variant,
            "weights": None,
            "parameters": {"cell": CELL_SIDE, "down": "cv2 bicubic, no antialiasing"},
        }

    def load(self, device: str) -> None:
        """Nothing to load; the CPU does it whatever the device."""

    def __call__(self, pictures: np.ndarray | Batch) -> list[np.ndarray]:
        originals = as_batch(pictures).pictures
        height, width = originals.shape[1:3]
        size = max(1, width // CELL_SIDE), max(1, height // CELL_SIDE)
        return [np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_CUBIC)) for p in originals]
