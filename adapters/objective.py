"""The loss: how well the frozen UNet, helped by the adapter's features, tells the noise in a noisy latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from adapters.adapter import Adapter
from adapters.base import Base
from adapters.batch import Batch
from adapters.config import Schedule
from adapters.timesteps import SCHEDULES


@dataclass(frozen=True)
class NoisyLatents:
    """What the base makes of a batch: all that the loss needs.

    latents, noise: float32 (N, 4, h, w). times: int64 (N,). context: (N, tokens, width). conditions: (N, C, H, W).
    """

    latents: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor
    context: torch.Tensor
    conditions: torch.Tensor


def add_noise(base: Base, batch: Batch, schedule: Schedule) -> NoisyLatents:
    """Encode pictures and captions, and noise each latent to its time step.

    Builds no graph: nothing of the base has `requires_grad`.
    """
    posterior = base.vae.encode(batch.pictures).latent_dist
    latents = (posterior.mean + posterior.std * batch.posteriors) * base.vae.config.scaling_factor
    times = SCHEDULES[schedule](batch.times, base.time_steps).to(base.device)
    noisy = base.scheduler.add_noise(latents, batch.noises, times)
    return NoisyLatents(noisy, batch.noises, times, base.embed(batch.captions), batch.conditions)


def denoising_loss(base: Base, adapter: Adapter, noisy: NoisyLatents) -> torch.Tensor:
    """Mean squared error of the predicted noise, a scalar."""
    predicted = base.unet(
        noisy.latents,
        noisy.times,
        encoder_hidden_states=noisy.context,
        # The UNet pops from this list: it must not be one that is used again.
        down_intrablock_additional_residuals=adapter(noisy.conditions),
    ).sample
    return torch.nn.functional.mse_loss(predicted.float(), noisy.noise)
