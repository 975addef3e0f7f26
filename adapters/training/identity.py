"""Which run this is: what it was begun with, and what it keeps because it was begun with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from t2i_shards.adapters.base.load import name_base
from t2i_shards.adapters.config_file import NAME, is_rendered, render_config
from t2i_shards.adapters.held_out import write_held_out
from t2i_shards.adapters.run_folder import RECORD, check_run, claim_run, read_begun
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.distributed import World
from t2i_shards.adapters.training.example import CropConfig
from t2i_shards.adapters.training.loader import SampleStream
from t2i_shards.adapters.training.start import name_start
from t2i_shards.extractors.atomic import write_file
from t2i_shards.pipeline.errors import RequestError

CLIP = 1.0
"""--clip when it is not given, as in diffusers' scripts. The paper and TencentARC's scripts clip nothing."""


def choose_clip(config: TrainConfig) -> float | None:
    """Norm to which gradients are scaled down. A run that was begun without --clip continues without."""
    asked, begun = config.optimizer.clip, read_begun(config.out)
    if asked is None:
        asked = CLIP if begun is None or "clip" in begun else 0.0
    return asked or None


def keep_threshold(config: TrainConfig, crop_config: CropConfig) -> CropConfig:
    """A run that was begun when each visit drew its threshold continues to do so."""
    begun = read_begun(config.out)
    if crop_config.threshold != "batch" or begun is None or begun.get("threshold_per") == "batch":
        return crop_config
    return replace(crop_config, threshold="visit")


def decide_schedule(config: TrainConfig, steps: int) -> dict[str, Any]:
    """The number of steps, where it decides the learning rate of each."""
    return {"steps": None if config.optimizer.lr_schedule == "constant" else steps}


def claim(
    config: TrainConfig, identity: Mapping[str, Any], stream: SampleStream, world: World, begin: bool
) -> None:
    """Begin the run, or make sure that it is the same one, on all workers; only the latter without `begin`.

    Raises RequestError.
    """
    if not begin:
        check_run(config.out, identity)
        return
    if world.is_main:
        claim_run(config.out, identity)
        write_held_out(config.out, stream.held_out)
    world.barrier()
    if not (config.out / RECORD).exists():
        raise RequestError(
            f"--out must be a folder that all workers see, and worker {world.rank} finds nothing in "
            f"{config.out} of what worker 0 has begun there"
        )
    claim_run(config.out, identity)


def keep_config(config: TrainConfig) -> None:
    """RUN/config.toml: the newest request, which --config repeats. For the process that holds the run.

    A file of that name that no training made is its user's, such as the one given with --config, and stays.
    """
    base = replace(config.base, name=name_base(config.base.name))
    asked = replace(config, base=base, start=config.start and name_start(config))
    path, content = config.out / NAME, render_config("train", asked)
    if not os.path.lexists(path) or (is_rendered(path, "train") and path.read_bytes() != content):
        write_file(path, content)
