"""How the miniature's adapters are trained and evaluated: on the base mini and simple scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.training.config import (
    BaseConfig,
    ComputeConfig,
    OptimizerConfig,
    RecordConfig,
    TrainConfig,
)
from t2i_shards.adapters.training.data import DataConfig
from t2i_shards.jobs.train import TrainCommand, TrainWorkers

Name = Literal["sketch", "depth", "keypose", "seg", "color"]
NAMES: tuple[Name, ...] = ("sketch", "depth", "keypose", "seg", "color")
TRUTHS = ("sketch", "depth", "keypose", "seg")
SAMPLING = Sampling(steps=25, guidance=2.0)
SEED = 20
"""Of the scenes that adapters learn from; no network of this project has seen them."""


def plan_training(condition: Name, root: Path, run: Path, steps: int) -> TrainCommand:
    """Of an adapter, on the scenes in `root`, whose latents are there."""
    return TrainCommand(
        TrainConfig(
            data=DataConfig((str(root),), condition, latents="latents"),
            out=run,
            base=BaseConfig("mini"),
            steps=steps,
            optimizer=OptimizerConfig(batch=16, lr=3e-3, timesteps="uniform"),
            record=RecordConfig(validate_every=200),
            compute=ComputeConfig(threads=1),
        ),
        TrainWorkers(engine="local"),
    )


def plan_evaluation(condition: Name, root: Path, run: Path, out: Path, samples: int, seeds: int) -> EvaluateConfig:
    """By the mini networks, which are the only ones that know these scenes."""
    return EvaluateConfig(
        str(root),
        condition,
        "mini",
        run,
        out,
        samples=samples,
        sampling=SAMPLING,
        variant="mini",
        seeds=seeds,
        batch=16,
        quality=False,
    )
