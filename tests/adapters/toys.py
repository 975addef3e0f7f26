"""A base, samples and a stream small enough to train on in a test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adapters.config import TrainConfig
from extractors.formats import FORMATS
from pipeline.image import encode_jpeg
from pipeline.sample import Sample


class MemoryStream:
    """A stream of these samples, in another order each epoch. `handed_out` is (epoch, key) of all it gave."""

    digest = "0" * 64

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self.handed_out: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._samples)

    def samples(self, epoch: int, start: int = 0) -> Iterator[Sample]:
        order = np.random.default_rng([7, epoch]).permutation(len(self._samples))
        for place in order[start:]:
            sample = self._samples[place]
            self.handed_out.append((epoch, sample.key))
            yield sample


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


def make_sample(key: str, picture: np.ndarray, sketch: np.ndarray, captions: Sequence[str]) -> Sample:
    members = {
        "jpg": encode_jpeg(picture, 95),
        "txt": captions[0].encode(),
        "json": json.dumps({"captions": list(captions)}).encode(),
        **FORMATS["sketch"].encode(sketch),
    }
    return Sample(key, members)


def toy_stream(count: int = 12) -> MemoryStream:
    return MemoryStream([toy_sample(index) for index in range(count)])


def toy_config(out: Path, **changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "root": "memory",
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
    return TrainConfig(**{**settings, **changes})
