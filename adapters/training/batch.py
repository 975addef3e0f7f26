"""Batches of examples, and how they become the networks' inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from t2i_shards.adapters.training.example import Example
from t2i_shards.extractors.registry import format_of


@dataclass(frozen=True)
class Batch:
    """N examples, each tensor with N in front; u is float64 (N,), edges float32 (N,)."""

    pictures: torch.Tensor | None
    latents: torch.Tensor | None
    control_images: torch.Tensor | None
    edges: torch.Tensor
    captions: list[str]
    u: torch.Tensor
    vae_noise: torch.Tensor
    noises: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`; time steps are drawn on the CPU."""

        def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            pictures=move(self.pictures),
            latents=move(self.latents),
            control_images=move(self.control_images),
            edges=self.edges.to(device, non_blocking=True),
            vae_noise=self.vae_noise.to(device, non_blocking=True),
            noises=self.noises.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """The same in page-locked memory, from which a GPU copies while it computes."""
        pinned: dict[str, Any] = {
            name: value.pin_memory() for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        return replace(self, **pinned)


def stack_examples(examples: Sequence[Example]) -> Batch:
    """Examples of one size as a batch on the CPU."""
    return Batch(
        pictures=_stack([e.picture for e in examples]),
        latents=_stack([e.latent for e in examples]),
        control_images=_stack([e.control_image for e in examples]),
        edges=torch.tensor([e.edge for e in examples]),
        captions=[e.caption for e in examples],
        u=torch.tensor([e.u for e in examples], dtype=torch.float64),
        vae_noise=torch.stack([e.vae_noise for e in examples]),
        noises=torch.stack([e.noise for e in examples]),
    )


def _stack(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    given = [part for part in parts if part is not None]
    return torch.stack(given) if given else None


def scale_pictures(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 -> float32 in -1..1."""
    return pictures.float() / 255 * 2 - 1


def scale_control_images(control_images: torch.Tensor, condition: str, edges: torch.Tensor) -> torch.Tensor:
    """uint8 (N, C, H, W) -> what the adapter is given, float32 in 0..1; edges are 0 or 1, by the threshold."""
    scaled = control_images.float() / 255
    if format_of(condition).values != "edges":
        return scaled
    return (scaled > edges.view(-1, 1, 1, 1)).float()
