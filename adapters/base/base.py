"""What training and sampling ask of a frozen base, whatever its family."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from t2i_shards.adapters.base.control import Control
from t2i_shards.adapters.options import Family, SamplerName

Features = Sequence[torch.Tensor] | Control
"""What guides a denoiser: an adapter's features, or a ControlNet with what it sees."""


@dataclass(frozen=True)
class PromptEmbeds:
    """What the text encoders make of N captions, in their dtype.

    states: (N, tokens, width). pooled: (N, width of the second encoder), of SDXL only.
    """

    states: torch.Tensor
    pooled: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> PromptEmbeds:
        """The same change to both tensors."""
        return PromptEmbeds(change(self.states), None if self.pooled is None else change(self.pooled))


def concat_embeds(embeds: Sequence[PromptEmbeds]) -> PromptEmbeds:
    """All of them in one, in order."""
    pooled = [each.pooled for each in embeds if each.pooled is not None]
    return PromptEmbeds(torch.cat([each.states for each in embeds]), torch.cat(pooled) if pooled else None)


class Sampler(Protocol):
    """How predictions turn noise into a latent. timesteps: (steps,), the noisiest first."""

    timesteps: torch.Tensor

    def step(self, predicted: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """The latents of the next timestep, from those of this one and what `denoise` predicted of them."""


class Base(Protocol):
    """A frozen latent diffusion model: all networks are in evaluation mode, none has `requires_grad`.

    Latents are float32 (N, channels, h, w), scaled; timesteps int64 (N,) or a scalar.
    """

    @property
    def family(self) -> Family:
        """Decides which adapters the base takes."""

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """By the names of their folders in diffusers' layout, in the order in which a picture passes them; "vae"
        and "text_encoder" are among them."""

    @property
    def denoiser(self) -> torch.nn.Module:
        """The network to which an adapter's features are added."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the denoiser's blocks on the way down, e.g. (320, 640, 1280, 1280)."""

    @property
    def time_steps(self) -> int:
        """Timesteps on which the denoiser was trained."""

    @property
    def loss_weights(self) -> torch.Tensor:
        """float32 (time_steps,): how much a squared error of `denoise` counts at each, in weighted losses."""

    @property
    def objective(self) -> Mapping[str, Any]:
        """What `target` depends on apart from the networks; empty where the target is the noise."""

    @property
    def device(self) -> torch.device:
        """Where the networks work; offloaded ones wait in CPU memory."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the denoiser."""

    def latent_shape(self, size: int) -> tuple[int, int, int]:
        """Of a square picture of `size` pixels: (channels, height, width)."""

    def tokenize(self, captions: Sequence[str]) -> torch.Tensor:
        """int64 (N, text encoders, tokens); captions are cut to the text encoders' length."""

    def find_unread(self, caption: str) -> str:
        """The end of a caption that is longer than what the text encoders read, as they spell it; else ""."""

    def embed(self, captions: Sequence[str]) -> PromptEmbeds:
        """The captions' embeddings."""

    def embed_tokens(self, tokens: torch.Tensor) -> PromptEmbeds:
        """The embeddings of what `tokenize` gave; on the CPU each one's bits do not depend on the others."""

    @property
    def embeds_form(self) -> PromptEmbeds:
        """Shapes and dtypes of one caption's embeddings, as tensors on the device "meta", which hold no values."""

    def negative(self, count: int) -> PromptEmbeds:
        """The embeddings that guidance leads away from, `count` times."""

    def encode(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the latents of pictures (N, 3, H, W) in -1..1, before `scale`."""

    def scale(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the autoencoder gives them -> as the denoiser knows them, of variance about 1."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents -> pictures, float32 (N, 3, H, W) in -1..1."""

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The latents as they are at these timesteps."""

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What `denoise` is to predict of latents that `add_noise` made; float32 of the same shape."""

    def denoise(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        prompt_embeds: PromptEmbeds,
        features: Features | None,
        pixels: tuple[int, int],
    ) -> torch.Tensor:
        """What the denoiser predicts of noisy latents, float32 of the same shape.

        features: an adapter's are added on the way down; None for none. pixels: (height, width) of the picture.
        """

    def make_sampler(self, steps: int, name: SamplerName = "ddim") -> Sampler:
        """A new sampler for one batch; a family with one of its own ignores the name."""

    def describe_sampler(self) -> dict[str, Any]:
        """What decides a picture besides base and steps, for its record, where the base's files say otherwise.

        Pictures made by older versions are then not taken for those that would be made now.
        """


def encode_picture(base: Base, picture: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (H, W, 3) -> mean and standard deviation of its latents, (1, channels, h, w), as `Base.encode`."""
    pixels = torch.tensor(picture).permute(2, 0, 1)[None].to(base.device)
    return base.encode(pixels.float() / 127.5 - 1)


def digest_base(base: Base) -> str:
    """sha256 over name, dtype, shape and bytes of every parameter and buffer of all networks, as they are used.

    A base in bfloat16 has another digest than the same base in float32, and so has one with another objective.
    """
    return digest_networks(base.networks, base.objective)


def digest_networks(networks: Mapping[str, torch.nn.Module], objective: Mapping[str, Any] | None = None) -> str:
    digest = hashlib.sha256()
    for part, network in networks.items():
        for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)
    for key, value in (objective or {}).items():
        digest.update(f"{key} {value}\n".encode())
    return digest.hexdigest()
