"""A loss that can be compared from step to step: samples, crops, captions, time steps and noise never change.

The training loss cannot show progress: it depends above all on the time steps that happen to be drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from t2i_shards.adapters.training.batch import stack_examples
from t2i_shards.adapters.training.example import CropConfig, make_example
from t2i_shards.adapters.training.loader import SampleStream
from t2i_shards.adapters.training.loss import Network, NoisyLatents, Objective
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.sample import Sample

VISIT = "validation"


def hold_out(stream: SampleStream, samples: int) -> tuple[SampleStream, list[Sample]]:
    """(the stream to train on, so many samples for the validation). RequestError where either is empty."""
    if len(stream) <= samples:
        raise RequestError(
            f"--validation {samples} must leave samples to train on, and there are {len(stream)}: hold out "
            "fewer with --validation"
        )
    rest, held_out = stream.hold_out(samples)
    if not held_out:
        raise RequestError(
            f"--validation needs samples that are held out, and all {samples} were removed from the "
            "data since this run was begun; begin another --out"
        )
    return rest, held_out


def refuse_not_finite(loss: float) -> None:
    """RequestError unless the loss from before the first step is finite."""
    if not math.isfinite(loss):
        raise RequestError(
            "the validation loss must be finite before the first step, and it is not: the base overflows on "
            "these samples (with --precision fp16 try bf16 or fp32)"
        )


class Validation:
    """The held-out samples, noised once to time steps that cover the schedule evenly.

    All are seen as they are: nothing is mirrored, every caption is there, an edge is one from 0.5 on.
    """

    def __init__(
        self, objective: Objective, samples: Sequence[Sample], crop_config: CropConfig, seed: int, batch: int
    ) -> None:
        self._objective, started = objective, time.perf_counter()
        self._batches: list[NoisyLatents] = []
        plain = replace(crop_config, flip=False, empty_captions=0.0, threshold="fixed")
        for first in range(0, len(samples), batch):
            examples = [
                replace(make_example(sample, plain, seed, VISIT), u=(place + 0.5) / len(samples))
                for place, sample in enumerate(samples[first : first + batch], first)
            ]
            self._batches.append(objective.add_noise(stack_examples(examples)))
        self._preparing = (time.perf_counter() - started) / len(samples)
        self._denoising = 0.0

    @torch.no_grad()
    def measure(self, adapter: Network, mismatched: bool = False) -> float:
        """Mean loss over the samples; `mismatched` gives each sample its neighbour's condition."""
        started = time.perf_counter()
        conditions = torch.cat([noisy.conditions for noisy in self._batches]).roll(int(mismatched), dims=0)
        total, first = 0.0, 0
        for noisy in self._batches:
            last = first + len(noisy.timesteps)
            loss = self._objective.loss(adapter, replace(noisy, conditions=conditions[first:last]))
            total += loss.item() * (last - first)
            first = last
        self._denoising = (time.perf_counter() - started) / len(conditions)
        return total / len(conditions)

    def estimate(self, samples: int) -> float:
        """Seconds that a training step on so many samples may take, by the time that the last measure took.

        The way back through the frozen base, in which no weight needs a gradient, is about as much work as the way
        there.
        """
        return samples * (self._preparing + 2 * self._denoising)
