"""The dataset that the comparisons work on: generated photographs-like pictures, the same every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.dataset import IMAGES, Dataset
from pipeline.engine import run
from pipeline.image import Geometry
from pipeline.ingest import Ingest, plan_dataset
from pipeline.sources.base import Original, Row


@dataclass(frozen=True)
class NoiseSource:
    """Smooth noise of a photograph's spectrum: JPEGs of about a photograph's size."""

    samples: int

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "noise", "samples": self.samples}

    def rows(self) -> Iterator[Row]:
        for index in range(self.samples):
            yield {"key": f"{index:09d}", "location": str(index), "captions": ["noise"], "digest": None}

    def open(self, row: Row, geometry: Geometry) -> Original:
        rng = np.random.default_rng(int(row["location"]))
        picture = np.zeros((geometry.size, geometry.size, 3))
        for side in (4, 16, 64, geometry.size):
            small = rng.standard_normal((side, side, 3))
            picture += cv2.resize(small, (geometry.size, geometry.size)) * 40 / np.log2(side)
        return Original(np.clip(picture + 128, 0, 255).astype(np.uint8), ("noise",))

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        return {}


def make_dataset(root: Path, shards: int, shard_size: int, size: int) -> Dataset:
    """A dataset of `shards` images shards at `root`."""
    source, geometry = NoiseSource(shards * shard_size), Geometry(size)
    dataset = plan_dataset(str(root), source, geometry, shard_size)
    run(Ingest(dataset, source, geometry, {}), dataset.left([IMAGES]), "local")
    return dataset
