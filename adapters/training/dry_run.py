"""A training as far as it goes without a file in RUN: what it would refuse, how large and how long it would be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from t2i_shards.adapters.base.load import choose_device
from t2i_shards.adapters.model.diffusers_io import shapes_of, stored_config
from t2i_shards.adapters.training.checkpoint import newest_step
from t2i_shards.adapters.training.config import TextCacheConfig, TrainConfig
from t2i_shards.adapters.training.data import open_samples
from t2i_shards.adapters.training.distributed import World
from t2i_shards.adapters.training.extents import find_begun
from t2i_shards.adapters.training.plan import TrainPlan
from t2i_shards.adapters.training.setup import check_latents, open_base
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.adapters.training.validation import refuse_not_finite

MOMENTS = 2
"""What Adam keeps of a parameter: two numbers of its own size."""


@dataclass(frozen=True)
class DryTraining:
    """checkpoint, run: bytes of one of its checkpoints, and of all that are kept with the finished adapter."""

    plan: TrainPlan
    checkpoint: int
    run: int


def try_training(config: TrainConfig, workers: int) -> DryTraining:
    """Prepare everything and measure the validation loss once, which tells how long a step takes.

    Raises what `train` would raise before its first step.
    """
    begun = find_begun(config)
    samples = open_samples(config.data, config.seed, config.optimizer.batch, begun.begun, begun.lanes)
    world = World(torch.device(choose_device(config.compute.device)), world_size=workers)
    if config.compute.threads:
        torch.set_num_threads(config.compute.threads)
    base = open_base(config.base, world.device)
    check_latents(config.data, base, config.base.name)
    training = Training(replace(config, texts=TextCacheConfig()), samples, base, world, begin=False)
    refuse_not_finite(training.validation.measure(training.result))
    own, stored = training.adapter.config, stored_config(training.adapter.config)
    weights, adapter = _bytes(shapes_of(own)), _bytes(shapes_of(stored))
    checkpoint = adapter * (2 if training.ema else 1) + weights * MOMENTS
    kept = config.record.keep + 1  # and the best one
    copies = adapter if training.config.start is None else 2 * adapter
    return DryTraining(training.plan(newest_step(config.out)), checkpoint, kept * checkpoint + copies)


def _bytes(shapes: Mapping[str, torch.Size]) -> int:
    """Of tensors in float32."""
    return sum(4 * shape.numel() for shape in shapes.values())
