"""A ControlNet (arXiv 2302.05543): what a denoiser can be given in place of an adapter's features.

An adapter sees the condition alone, once for all steps. A ControlNet is a copy of the denoiser's way down that
sees the noisy latents too, and runs at every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from diffusers import ControlNetModel


@dataclass(frozen=True)
class Control:
    """control_images: float32 (N, C, H, W) in 0..1, C the network's channels. scale: multiplies what it adds.

    guess_mode: the network sees only the second half of a batch, which has the captions and to which the control
    images belong, and adds nothing to the first; as in diffusers, its residuals count from 0.1 to 1 with depth.
    """

    network: ControlNetModel
    control_images: torch.Tensor
    scale: float = 1.0
    guess_mode: bool = False

    def residuals(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        states: torch.Tensor,
        added: Mapping[str, torch.Tensor] | None,
    ) -> dict[str, Any]:
        """What it adds, by the names of the UNet's arguments; latents and states as the UNet is given them."""
        if self.guess_mode:
            latents, states = latents.chunk(2)[1], states.chunk(2)[1]
            added = {name: value.chunk(2)[1] for name, value in added.items()} if added else None
        down, middle = self.network(
            latents,
            timesteps,
            encoder_hidden_states=states,
            controlnet_cond=self.control_images.to(latents.dtype),
            conditioning_scale=self.scale,
            guess_mode=self.guess_mode,
            added_cond_kwargs=added,
            return_dict=False,
        )
        if self.guess_mode:
            down, middle = [_after_zeros(one) for one in down], _after_zeros(middle)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def _after_zeros(residual: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(residual), residual])
