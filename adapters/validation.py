"""A loss that can be compared from step to step: samples, crops, captions, time steps and noise never change.

The training loss cannot show progress: it is ruled by the time steps that happen to be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from adapters.adapter import Adapter
from adapters.base import Base
from adapters.batch import Framing, make_example, stack_examples
from adapters.config import Schedule
from adapters.objective import NoisyLatents, add_noise, denoising_loss
from pipeline.sample import Sample

VISIT = "validation"


class Validation:
    """The held-out samples, noised once to time steps that cover the schedule evenly."""

    def __init__(
        self, base: Base, samples: Sequence[Sample], framing: Framing, schedule: Schedule, seed: int, batch: int
    ) -> None:
        self._base = base
        self._batches: list[NoisyLatents] = []
        for first in range(0, len(samples), batch):
            examples = [
                replace(make_example(sample, framing, seed, VISIT), time=(place + 0.5) / len(samples))
                for place, sample in enumerate(samples[first : first + batch], first)
            ]
            self._batches.append(add_noise(base, stack_examples(examples, base.device), schedule))

    @torch.no_grad()
    def measure(self, adapter: Adapter, mismatched: bool = False) -> float:
        """Mean loss over the samples; `mismatched` gives each sample its neighbour's condition."""
        conditions = torch.cat([noisy.conditions for noisy in self._batches]).roll(int(mismatched), dims=0)
        total, first = 0.0, 0
        for noisy in self._batches:
            last = first + len(noisy.times)
            loss = denoising_loss(self._base, adapter, replace(noisy, conditions=conditions[first:last]))
            total += loss.item() * (last - first)
            first = last
        return total / len(conditions)
