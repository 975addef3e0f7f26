"""Canny: OpenCV's edges, white on black; needs no weights.

Variant `random` draws the thresholds anew for every picture, so that an adapter meets sparse and dense edges
(ControlNet was trained so). The draw depends on the picture's pixels alone.
"""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from extractors.base import Resources
from extractors.batch import Batch, as_batch
from extractors.formats import FORMATS

LOW, RATIO = 100, 2
"""Lower threshold, and what the upper one is of it."""
RANDOM_LOW = range(50, 151)


class Canny:
    """Extractor of the canny map: uint8 (H, W), 255 = edge, 0 = none."""

    condition = "canny"
    format = FORMATS["canny"]
    resources = Resources(cpus=1.0, memory=64 << 20)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant

    def recipe(self) -> dict[str, Any]:
        low = [RANDOM_LOW[0], RANDOM_LOW[-1]] if self.variant == "random" else LOW
        return {
            "extractor": "canny",
            "version": 1,
            "variant": self.variant,
            "weights": None,
            "parameters": {"low": low, "high": f"{RATIO} * low", "grey": "cv2", "aperture": 3, "gradient": "L1"},
        }

    def load(self, device: str) -> None:
        """Nothing to load; the CPU does it whatever the device."""

    def __call__(self, pictures: np.ndarray | Batch) -> list[np.ndarray]:
        maps = []
        for picture in as_batch(pictures).pictures:
            low = draw_low(picture) if self.variant == "random" else LOW
            grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
            maps.append(np.asarray(cv2.Canny(grey, low, RATIO * low)))
        return maps


def draw_low(picture: np.ndarray) -> int:
    """The lower threshold for this picture, uint8 (H, W, 3): uniform over RANDOM_LOW, the same on every run."""
    digest = hashlib.sha256(picture.tobytes()).digest()
    return RANDOM_LOW[int.from_bytes(digest[:8]) % len(RANDOM_LOW)]
