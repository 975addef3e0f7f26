"""A toy condition in one file, as a newcomer would write it: normals of a surface that brightness raises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.batch import Batch, as_batch
from t2i_shards.extractors.maps.formats import Rgb
from t2i_shards.extractors.maps.statistics import NumberStatistic
from t2i_shards.extractors.metrics.fidelity import Fidelity, Measure
from t2i_shards.extractors.metrics.maps import count_colors, mean_of


@dataclass(frozen=True)
class NormalMap(Rgb):
    """Map: uint8 (H, W, 3), the normal's x, y, z from -1..1 to 0..255. In a mirror x changes its sign."""

    def mirror(self, condition_map: np.ndarray) -> np.ndarray:
        mirrored = condition_map[:, ::-1].copy()
        mirrored[..., 0] = 255 - mirrored[..., 0]
        return mirrored

    def find_oddity(self, pixels: np.ndarray) -> str | None:
        return "its normals point away, and blue is expected over a half" if (pixels[..., 2] < 127).any() else None


FORMAT = NormalMap(
    "normals.png",
    "normals of the surface, x, y, z as RGB",
    fidelity=Fidelity(
        (Measure("normal_error", "normal error", "lower"),),
        count_colors,
        lambda sums: {"normal_error": mean_of(sums)},
    ),
    statistic=NumberStatistic(
        "steepness", "Steepness", 10, lambda condition_map: int(255 - condition_map[..., 2].min()) // 26, str
    ),
)


class Normals:
    """Extractor of the normals."""

    condition = "normals"
    format = FORMAT
    resources = Resources(cpus=1.0)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant

    def recipe(self) -> dict[str, Any]:
        return {"extractor": "normals", "version": 1, "variant": self.variant, "weights": None, "parameters": {}}

    def load(self, device: str) -> None:
        """Nothing to load."""

    def __call__(self, pictures: np.ndarray | Batch) -> list[np.ndarray]:
        return [find_normals(picture) for picture in as_batch(pictures).pictures]


def find_normals(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> the map."""
    height = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    right, down = cv2.Sobel(height, cv2.CV_32F, 1, 0), cv2.Sobel(height, cv2.CV_32F, 0, 1)
    normal = np.stack([-right, -down, np.full_like(right, 64)], axis=2)
    unit = normal / np.linalg.norm(normal, axis=2, keepdims=True)
    return np.asarray(np.rint(unit * 127.5 + 127.5), np.uint8)
