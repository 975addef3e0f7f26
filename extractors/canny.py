"""Canny: OpenCV's edges, white on black; needs no weights.

The edges are those of the colour picture, as TencentARC and controlnet_aux make them: OpenCV takes the channel
with the strongest gradient at each pixel. A grey picture lacks the edges between colours of one brightness.

Variant `random` draws both thresholds for every picture, so that an adapter is trained on sparse and dense edges
(AddCannyRandomThreshold in TencentARC's dataset/utils.py). The draw depends on the picture's pixels alone.
"""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.batch import Batch, as_batch
from t2i_shards.extractors.maps.formats import Grey
from t2i_shards.extractors.maps.statistics import EDGE_DENSITY
from t2i_shards.extractors.metrics.fidelity import EDGE_FIDELITY

LOW, HIGH = 100, 200
"""Thresholds of the gradient, as in TencentARC's get_cond_canny (ldm/modules/extra_condition/api.py)."""
SPREAD = 50
"""Variant `random` draws each threshold uniformly from at most this far below to this far above."""
FORMAT = Grey(
    "canny.png",
    "edges, grey: 255 = edge",
    channels=1,
    values="edges",
    fidelity=EDGE_FIDELITY,
    statistic=EDGE_DENSITY,
)


class Canny:
    """Extractor of the canny map: uint8 (H, W), 255 = edge, 0 = none."""

    condition = "canny"
    format = FORMAT
    resources = Resources(cpus=1.0, memory=64 << 20)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant

    def recipe(self) -> dict[str, Any]:
        low, high = ([t - SPREAD, t + SPREAD] if self.variant == "random" else t for t in (LOW, HIGH))
        return {
            "extractor": "canny",
            "version": 2,  # 1 took the edges of the grey picture
            "variant": self.variant,
            "weights": None,
            "parameters": {"low": low, "high": high, "channels": "BGR", "aperture": 3, "gradient": "L1"},
        }

    def load(self, device: str) -> None:
        """Nothing to load; the CPU does it whatever the device."""

    def __call__(self, pictures: np.ndarray | Batch) -> list[np.ndarray]:
        maps = []
        for picture in as_batch(pictures).pictures:
            low, high = draw_thresholds(picture) if self.variant == "random" else (LOW, HIGH)
            # BGR as TencentARC: where two channels tie, OpenCV takes the first.
            maps.append(np.asarray(cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), low, high)))
        return maps


def draw_thresholds(picture: np.ndarray) -> tuple[int, int]:
    """Low and high threshold for this picture, uint8 (H, W, 3): independent, uniform, the same on every run."""
    digest = hashlib.sha256(picture.tobytes()).digest()
    low, high = (int.from_bytes(part) % (2 * SPREAD + 1) - SPREAD for part in (digest[:8], digest[8:16]))
    return LOW + low, HIGH + high
