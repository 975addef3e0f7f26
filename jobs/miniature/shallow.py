"""A base that takes an adapter's features at fewer scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from t2i_shards.adapters.base import Features, PromptEmbeds, StableDiffusion


@dataclass(frozen=True)
class Shallow(StableDiffusion):
    """Features are added to the first `scales` blocks of the UNet's way down only, the finest ones."""

    scales: int = 4

    def denoise(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        prompt_embeds: PromptEmbeds,
        features: Features | None,
        pixels: tuple[int, int],
    ) -> torch.Tensor:
        some = features[: self.scales] if isinstance(features, Sequence) else features
        return super().denoise(latents, timesteps, prompt_embeds, some, pixels)


def make_shallow(base: StableDiffusion, scales: int) -> Shallow:
    return Shallow(**{each.name: getattr(base, each.name) for each in fields(base)}, scales=scales)
