"""The learning rate of each step: a function of its number alone, so that a run resumes with no state of it."""

from __future__ import annotations

import math

from t2i_shards.adapters.training.config import OptimizerConfig
from t2i_shards.pipeline.errors import RequestError


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Of step `step` (0 is the first) of `steps`.

    It rises linearly to the full rate at the last step of the warm-up. A cosine then takes it to 0, which the step
    after the last one would have. So it is in `diffusers.optimization`, but for a first step at 0 there.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.lr_schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / (steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def check_warmup(config: OptimizerConfig, steps: int) -> None:
    """RequestError for a warm-up that the training would not outlast."""
    if config.warmup_steps >= steps:
        raise RequestError(
            f"--warmup-steps must be below the {steps} steps of the training, not {config.warmup_steps}"
        )
