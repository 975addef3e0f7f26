"""What a training is about to do: how many steps these are, and how long they may take."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from t2i_shards.adapters.training.config import STEPS, TrainConfig
from t2i_shards.pipeline.plain import format_duration, number_of


@dataclass(frozen=True)
class TrainPlan:
    """samples: to train on. steps: in all. begun: how many of them are done. seconds: an estimate for the others,
    None where there is nothing to go by.
    """

    config: TrainConfig
    device: str
    samples: int
    held_out: int
    steps: int
    begun: int = 0
    seconds: float | None = None

    @property
    def epochs(self) -> float:
        """Visits to each sample in all."""
        return self.steps * self.config.optimizer.batch / self.samples

    def describe(self, now: datetime) -> str:
        """One line."""
        config, visits = self.config, f"{self.epochs:.3g}"
        parts = [
            f"base {config.base.name}",
            f"adapter {config.adapter}" + (f" from {config.start}" if config.start else ""),
            self.device,
            config.base.precision,
            number_of(self.samples, "sample"),
            f"{self.held_out} held out",
            f"{number_of(self.steps, 'step')} = {visits} {'epoch' if visits == '1' else 'epochs'}",
        ]
        if self.begun:
            parts.append(f"{self.begun} of them done")
        if self.seconds is not None:
            parts.append(f"about {format_duration(self.seconds)}")
            with suppress(OverflowError):  # after the year 9999
                end = now + timedelta(seconds=self.seconds)
                day = "" if end.date() == now.date() else f"{end:%Y-%m-%d} "
                parts.append(f"until {day}{end:%H:%M}")
        return ", ".join(parts)


def count_steps(config: TrainConfig, samples: int) -> int:
    """Steps of a training on so many samples; a last one that --epochs fill in part is taken as well."""
    if config.epochs is None:
        return STEPS if config.steps is None else config.steps
    # In floats 1.1 * 800 is slightly above 880, and ceil would add a step.
    return math.ceil(Fraction(str(config.epochs)) * samples / config.optimizer.batch)
