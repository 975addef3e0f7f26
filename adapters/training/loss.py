"""The loss: how well the frozen UNet, helped by the adapter's features, tells the noise in a noisy latent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from adapters.base import Base, Context
from adapters.base.load import DTYPES
from adapters.options import Precision
from adapters.training.batch import Batch, scale_drawings, scale_pictures
from adapters.training.config import Schedule


def cubic(u: torch.Tensor, steps: int) -> torch.Tensor:
    """u float64 in [0, 1) -> int64 in [0, steps). u = 0 gives t = T, a step that there is not: it is clamped."""
    return ((1 - u**3) * steps).long().clamp(max=steps - 1)


def uniform(u: torch.Tensor, steps: int) -> torch.Tensor:
    """u float64 in [0, 1) -> int64 in [0, steps)."""
    return (u * steps).long()


SCHEDULES: dict[Schedule, Callable[[torch.Tensor, int], torch.Tensor]] = {"cubic": cubic, "uniform": uniform}


Network = Callable[[torch.Tensor], list[torch.Tensor]]
"""An adapter, or something that stands for it."""


@dataclass(frozen=True)
class NoisyLatents:
    """What the base makes of a batch: all that the loss needs.

    latents, noise: float32 (N, 4, h, w). times: int64 (N,). conditions: float32 (N, C, H, W) in 0..1.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor
    context: Context
    conditions: torch.Tensor


@dataclass(frozen=True)
class Objective:
    """How batches become a loss.

    embed: captions -> context. draw: uint8 pictures (N, 3, H, W) -> drawings uint8 (N, C, H, W), for conditions
    that no column holds.
    """

    base: Base
    condition: str
    schedule: Schedule
    precision: Precision
    embed: Callable[[Sequence[str]], Context]
    draw: Callable[[torch.Tensor], torch.Tensor] | None = None

    def add_noise(self, batch: Batch) -> NoisyLatents:
        """Encode pictures and captions, and noise each latent to its time step.

        Builds no graph: nothing of the base has `requires_grad`.
        """
        base = self.base
        drawings = batch.drawings
        if drawings is None:
            assert self.draw is not None
            assert batch.pictures is not None
            drawings = self.draw(batch.pictures)
        batch = batch.to(base.device)
        if batch.latents is not None:
            mean, std = batch.latents.unbind(1)
        else:
            assert batch.pictures is not None
            mean, std = base.encode(scale_pictures(batch.pictures))
        latents = base.scale(mean + std * batch.posteriors)
        times = SCHEDULES[self.schedule](batch.times, base.time_steps).to(base.device)
        noisy = base.scheduler.add_noise(latents, batch.noises, times)
        conditions = scale_drawings(drawings.to(base.device), self.condition, batch.edges)
        return NoisyLatents(noisy, batch.noises, times, self.embed(batch.captions), conditions)

    def loss(self, adapter: Network, noisy: NoisyLatents) -> torch.Tensor:
        """Mean squared error of the predicted noise, a scalar."""
        height, width = noisy.conditions.shape[-2:]
        with self.rounding():
            features = adapter(noisy.conditions)
            predicted = self.base.predict(noisy.latents, noisy.times, noisy.context, features, (height, width))
        return torch.nn.functional.mse_loss(predicted.float(), noisy.noise)

    def rounding(self) -> AbstractContextManager[object]:
        """Products in the asked precision; weights stay as they are."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.base.device.type, DTYPES[self.precision])
