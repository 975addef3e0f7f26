"""The dataset that the comparisons work on: generated photographs-like pictures, the same every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.base import Opener, Original, Seen, Source, unseen
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset


def draw_noise(number: int, size: int) -> np.ndarray:
    """uint8 (size, size, 3): smooth noise of a photograph's spectrum, a JPEG of about a photograph's size."""
    rng = np.random.default_rng(number)
    picture = np.zeros((size, size, 3))
    for side in (4, 16, 64, size):
        small = rng.standard_normal((side, side, 3))
        picture += cv2.resize(small, (size, size)) * 40 / np.log2(side)
    return np.clip(picture + 128, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Drawn(Source):
    """A source of so many pictures, which `draw(number, size)` gives."""

    samples: int
    size: int
    draw: Callable[[int, int], np.ndarray] = draw_noise
    resources: Resources = Resources()  # noqa: RUF009  (frozen)
    crawl: ClassVar[bool] = False

    @property
    def repeatable(self) -> bool:
        return True

    def describe(self) -> Mapping[str, Any]:
        return {"kind": self.draw.__name__, "samples": self.samples}

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        yield self.open

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        for index in range(self.samples):
            yield Row(f"{index:09d}", str(index), ("drawn",))

    def open(self, row: Row) -> Original:
        return Original(self.draw(int(row.location), self.size), ("drawn",))


def make_dataset(
    root: Path, shards: int, shard_size: int, size: int, draw: Callable[[int, int], np.ndarray] = draw_noise
) -> Dataset:
    """A dataset of `shards` images shards at `root`."""
    source, geometry = Drawn(shards * shard_size, size, draw), Geometry(size)
    dataset = plan_dataset(str(root), source, geometry, shard_size)
    run(Ingest(dataset, source, {}), dataset.left([IMAGES]), "local")
    return dataset
