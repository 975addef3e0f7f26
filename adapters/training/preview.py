"""Pictures of a few held-out samples, made while training, and how closely they follow the condition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.evaluation.example import crop_middle, seed_of
from t2i_shards.adapters.evaluation.fidelity import measure_fidelity
from t2i_shards.adapters.evaluation.grid import lay_out
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.control_images import to_control_image
from t2i_shards.adapters.inference.sampler import sample_pictures
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.example import CropConfig
from t2i_shards.adapters.training.setup import open_extractor
from t2i_shards.extractors.base import Extractor
from t2i_shards.pipeline.shards.sample import Sample

WATCHED = 4
"""Held-out samples of which pictures are made."""
TITLES = ("condition", "with the adapter", "true picture")
"""Of a sheet's columns."""


class SamplePreview:
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
        self._examples = [crop_middle(sample, condition, size) for sample in samples]
        self._seeds = [seed_of(seed, example.key) for example in self._examples]
        self._sampling, self._batch = sampling or Sampling(steps=20), batch

    def render(self, adapter: Adapter) -> tuple[np.ndarray, dict[str, float]]:
        """A sheet, uint8 (H, W, 3), with control image, generated and own picture of each sample; and measures."""
        channels = adapter.config.in_channels
        control_images = torch.cat(
            [to_control_image(example.control_image, channels, self._condition) for example in self._examples]
        )
        captions = [example.caption for example in self._examples]
        pictures = sample_pictures(
            self._base, adapter, control_images, captions, self._seeds, self._sampling, self._batch
        )
        maps = [example.map for example in self._examples]
        fidelity = measure_fidelity(self._condition, maps, pictures, self._extractor)
        rows = [(g.control_image, picture, g.picture) for g, picture in zip(self._examples, pictures, strict=True)]
        return lay_out(rows, TITLES), fidelity


def open_preview(
    config: TrainConfig, base: Base, held_out: Sequence[Sample], crop_config: CropConfig, batch: int
) -> SamplePreview | None:
    """What makes the pictures of the first held-out samples, `batch` at once; None where none are asked for.

    Raises RequestError where the condition's extractor is not available.
    """
    if not config.record.sample_every:
        return None
    assert crop_config.size is not None
    extractor = open_extractor(config.data, config.extractor, base.device)
    samples = held_out[:WATCHED]
    return SamplePreview(
        base, samples, config.data.condition, crop_config.size, extractor, seed=config.seed, batch=batch
    )
