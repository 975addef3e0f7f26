"""What training looks at every so many steps: pictures of a few held-out samples, and how far they obey."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from adapters.base import Base
from adapters.evaluation.example import frame_middle, seed_of
from adapters.evaluation.fidelity import measure_obedience
from adapters.evaluation.grid import lay_out
from adapters.inference.config import Sampling
from adapters.inference.control_images import to_drawing
from adapters.inference.sampler import sample_pictures
from adapters.model.adapter import Adapter
from adapters.training.config import TrainConfig
from adapters.training.example import Framing
from adapters.training.setup import load_extractor
from extractors.base import Extractor
from pipeline.shards.sample import Sample

WATCHED = 4
"""Held-out samples of which pictures are made."""


class Watch:
    """samples: with the condition's members. size: of the square cut from the middle. extractor: loaded."""

    def __init__(
        self,
        base: Base,
        samples: Sequence[Sample],
        condition: str,
        size: int,
        extractor: Extractor,
        sampling: Sampling | None = None,
        seed: int = 0,
        batch: int = 1,
    ) -> None:
        self._base, self._condition, self._extractor = base, condition, extractor
        self._given = [frame_middle(sample, condition, size) for sample in samples]
        self._seeds = [seed_of(seed, given.key) for given in self._given]
        self._sampling, self._batch = sampling or Sampling(steps=20), batch

    def look(self, adapter: Adapter) -> tuple[np.ndarray, dict[str, float]]:
        """A sheet, uint8 (H, W, 3): drawing, generated picture, own picture of each sample; and the measures."""
        channels = adapter.layout.in_channels
        drawings = torch.cat([to_drawing(given.drawing, channels, self._condition) for given in self._given])
        captions = [given.caption for given in self._given]
        pictures = sample_pictures(
            self._base, adapter, drawings, captions, self._seeds, self._sampling, self._batch
        )
        maps = [given.map for given in self._given]
        obedience = measure_obedience(self._condition, maps, pictures, self._extractor)
        rows = [(g.drawing, picture, g.picture) for g, picture in zip(self._given, pictures, strict=True)]
        return lay_out(rows), obedience


def open_preview(
    config: TrainConfig, base: Base, held_out: Sequence[Sample], framing: Framing, batch: int
) -> Watch | None:
    """What makes the pictures of the first held-out samples, `batch` at once; None where none are asked for.

    Raises RequestError where the condition's extractor cannot be had.
    """
    if not config.sample_every:
        return None
    assert framing.size is not None
    extractor = load_extractor(config.condition, config, base.device)
    samples = held_out[:WATCHED]
    return Watch(base, samples, config.condition, framing.size, extractor, seed=config.seed, batch=batch)
