"""A base, samples and a stream small enough to train on in a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from t2i_shards.adapters.training.config import (
    BaseConfig,
    ComputeConfig,
    ExtractorConfig,
    OptimizerConfig,
    RecordConfig,
    TextCacheConfig,
    TrainConfig,
    VisitConfig,
)
from t2i_shards.adapters.training.data import DataConfig
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.image.geometry import Placement
from t2i_shards.pipeline.image.stored import encode_jpeg
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import SampleInfo

T = TypeVar("T")


class MemoryStream:
    """A stream of these samples, in another order each epoch. `handed_out` is (epoch, key) of all it gave."""

    digest = "0" * 64
    held_out = ()
    short_side: int | None = None
    removed = 0

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self.handed_out: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._samples)

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([7, epoch]).permutation(len(self._samples))

    def take(self, positions: Iterable[int], make: Callable[[Sample, int, None], T]) -> Iterator[tuple[int, T]]:
        for position in positions:
            epoch, place = divmod(position, len(self))
            sample = self._samples[self._order(epoch)[place]]
            self.handed_out.append((epoch, sample.key))
            yield position, make(sample, epoch, None)

    def hold_out(self, count: int) -> tuple[MemoryStream, list[Sample]]:
        held_out = set(self._order(0)[:count])
        rest = MemoryStream([sample for place, sample in enumerate(self._samples) if place not in held_out])
        rest.digest = self.digest
        return rest, [self._samples[place] for place in self._order(0)[:count]]


def toy_sample(index: int, size: int = 64) -> Sample:
    """A disc on a plain ground, and its outline as sketch."""
    rng = np.random.default_rng(index)
    picture = np.zeros((size, size, 3), np.uint8) + rng.integers(0, 256, 3).astype(np.uint8)
    sketch = np.zeros((size, size), np.uint8)
    centre = (int(rng.integers(size // 4, 3 * size // 4)), int(rng.integers(size // 4, 3 * size // 4)))
    colour = [int(c) for c in rng.integers(0, 256, 3)]
    cv2.circle(picture, centre, size // 5, colour, -1)
    cv2.circle(sketch, centre, size // 5, 255, 2)
    return make_sample(f"{index:06d}", picture, sketch, ["a disc", "a circle"])


def info_of(key: str, picture: np.ndarray, captions: Sequence[str]) -> bytes:
    """The json of a sample whose picture was neither resized nor cut."""
    height, width = picture.shape[:2]
    size = (width, height)
    return SampleInfo(key, tuple(captions), *size, Placement(size, size, (0, 0, *size))).encode()


def make_sample(key: str, picture: np.ndarray, sketch: np.ndarray, captions: Sequence[str]) -> Sample:
    members = {
        "jpg": encode_jpeg(picture, 95),
        "txt": captions[0].encode(),
        "json": info_of(key, picture, captions),
        **format_of("sketch").encode(sketch),
    }
    return Sample(key, members)


def toy_stream(count: int = 12) -> MemoryStream:
    return MemoryStream([toy_sample(index) for index in range(count)])


def toy_config(out: Path, **changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "roots": ("memory",),
        "condition": "sketch",
        "out": out,
        "adapter": "tiny",
        "steps": 6,
        "batch": 2,
        "lr": 1e-3,
        "validation": 2,
        "validate_every": 3,
        "checkpoint_every": 2,
        "device": "cpu",
    }
    return train_config(**{**settings, **changes})


def train_config(**options: Any) -> TrainConfig:
    """The config of a training that was asked for these options, by the names of their flags."""
    data = DataConfig(**_pick(DataConfig, options))
    base = BaseConfig(options.pop("base", "tiny"), **_pick(BaseConfig, options))
    groups = {
        "visits": VisitConfig,
        "optimizer": OptimizerConfig,
        "record": RecordConfig,
        "extractor": ExtractorConfig,
        "texts": TextCacheConfig,
        "compute": ComputeConfig,
    }
    made: dict[str, Any] = {name: group(**_pick(group, options)) for name, group in groups.items()}
    return TrainConfig(data=data, base=base, **made, **options)


def _pick(group: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options that are fields of a group, which are taken out."""
    return {field.name: options.pop(field.name) for field in fields(group) if field.name in options}
