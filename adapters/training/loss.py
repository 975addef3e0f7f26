"""The loss: how well the frozen base, helped by the adapter's features, predicts its target from noisy latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from t2i_shards.adapters.base import Base, Features, PromptEmbeds
from t2i_shards.adapters.base.load import DTYPES
from t2i_shards.adapters.options import Precision
from t2i_shards.adapters.training.batch import Batch, scale_control_images, scale_pictures
from t2i_shards.adapters.training.config import Schedule, Weighting

Network = Callable[[torch.Tensor], Features]
"""An adapter, or what wraps it: conditions -> what guides the base."""


def cubic(u: torch.Tensor, steps: int) -> torch.Tensor:
    """u float64 in [0, 1) -> int64 in [0, steps). u = 0 gives t = T, a step that does not exist: it is clamped."""
    return ((1 - u**3) * steps).long().clamp(max=steps - 1)


def uniform(u: torch.Tensor, steps: int) -> torch.Tensor:
    """u float64 in [0, 1) -> int64 in [0, steps)."""
    return (u * steps).long()


SCHEDULES: dict[Schedule, Callable[[torch.Tensor, int], torch.Tensor]] = {"cubic": cubic, "uniform": uniform}


@dataclass(frozen=True)
class NoisyLatents:
    """What the base makes of a batch: all that the loss needs.

    latents, target: float32 (N, 4, h, w), what the base is given and what it is to predict. timesteps: int64 (N,).
    conditions: float32 (N, C, H, W) in 0..1.
    """

    latents: torch.Tensor
    target: torch.Tensor
    timesteps: torch.Tensor
    prompt_embeds: PromptEmbeds
    conditions: torch.Tensor


@dataclass(frozen=True)
class Objective:
    """How batches become a loss.

    embed: captions -> prompt embeddings. extract: pictures, uint8 (N, 3, H, W) -> control images, uint8
    (N, C, H, W), for conditions that no column holds. weighting: "snr" weights the errors by the base's
    `loss_weights` over their mean.
    """

    base: Base
    condition: str
    schedule: Schedule
    precision: Precision
    embed: Callable[[Sequence[str]], PromptEmbeds]
    extract: Callable[[torch.Tensor], torch.Tensor] | None = None
    weighting: Weighting | None = None

    def add_noise(self, batch: Batch) -> NoisyLatents:
        """Encode pictures and captions, and noise each latent to its time step.

        Builds no graph: nothing of the base has `requires_grad`.
        """
        base = self.base
        control_images = batch.control_images
        if control_images is None:
            assert self.extract is not None
            assert batch.pictures is not None
            control_images = self.extract(batch.pictures)
        batch = batch.to(base.device)
        if batch.latents is not None:
            mean, std = batch.latents.unbind(1)
        else:
            assert batch.pictures is not None
            mean, std = base.encode(scale_pictures(batch.pictures))
        latents = base.scale(mean + std * batch.vae_noise)
        timesteps = SCHEDULES[self.schedule](batch.u, base.time_steps).to(base.device)
        noisy = base.add_noise(latents, batch.noises, timesteps)
        target = base.target(latents, batch.noises, timesteps)
        conditions = scale_control_images(control_images.to(base.device), self.condition, batch.edges)
        return NoisyLatents(noisy, target, timesteps, self.embed(batch.captions), conditions)

    def loss(self, adapter: Network, noisy: NoisyLatents) -> torch.Tensor:
        """Mean squared error of the prediction, weighted as asked: a scalar."""
        height, width = noisy.conditions.shape[-2:]
        with self.rounding():
            features = adapter(noisy.conditions)
            predicted = self.base.denoise(
                noisy.latents, noisy.timesteps, noisy.prompt_embeds, features, (height, width)
            )
        if self.weighting is None:
            return torch.nn.functional.mse_loss(predicted.float(), noisy.target)
        weights = self.base.loss_weights
        errors = (predicted.float() - noisy.target).square().mean(dim=(1, 2, 3))
        return ((weights / weights.mean()).to(errors.device)[noisy.timesteps] * errors).mean()

    def rounding(self) -> AbstractContextManager[object]:
        """Products in the asked precision; weights stay as they are."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.base.device.type, DTYPES[self.precision])
