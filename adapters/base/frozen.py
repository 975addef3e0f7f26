"""The frozen Stable Diffusion that an adapter is trained on: read, never written.

Two families. SD (1.x, and the 2.x that predict the noise) reads captions with one text encoder. SDXL reads them
with two, and its UNet also gets a pooled summary of the caption and the picture's size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

Family = Literal["sd", "sdxl"]


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
    pooled = [prompt_embeds.pooled for prompt_embeds in embeds if prompt_embeds.pooled is not None]
    return PromptEmbeds(
        torch.cat([prompt_embeds.states for prompt_embeds in embeds]), torch.cat(pooled) if pooled else None
    )


@dataclass(frozen=True)
class Base:
    """The parts of a latent diffusion model, in evaluation mode, none with `requires_grad`.

    force_zeros_for_empty_prompt: whether guidance leads away from zeros instead of from the empty caption; named
    as in SDXL's model_index.json.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[CLIPTextModel] | tuple[CLIPTextModel, CLIPTextModelWithProjection]
    tokenizers: tuple[CLIPTokenizer, ...]
    scheduler: DDPMScheduler
    force_zeros_for_empty_prompt: bool = False

    @property
    def family(self) -> Family:
        return "sdxl" if len(self.text_encoders) == 2 else "sd"

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """By the names of their folders in diffusers' layout."""
        texts = zip(("text_encoder", "text_encoder_2"), self.text_encoders, strict=False)
        return {**dict(texts), "unet": self.unet, "vae": self.vae}

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the UNet's blocks on the way down, e.g. (320, 640, 1280, 1280)."""
        return tuple(self.unet.config.block_out_channels)

    @property
    def time_steps(self) -> int:
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.unet.device
        return device

    def latent_shape(self, size: int) -> tuple[int, int, int]:
        """Of a square picture of `size` pixels: (channels, height, width)."""
        side = size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return int(self.vae.config.latent_channels), side, side

    def tokenize(self, captions: Sequence[str]) -> torch.Tensor:
        """int64 (N, text encoders, tokens); captions are cut to the text encoders' length."""
        ids = [
            tokenizer(
                list(captions),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            for tokenizer in self.tokenizers
        ]
        return torch.stack(ids, dim=1)

    def find_unread(self, caption: str) -> str:
        """The end of a caption that is longer than what the text encoders read, as they spell it; else ""."""
        shortest = min(self.tokenizers, key=lambda tokenizer: tokenizer.model_max_length)
        ids = shortest(caption, verbose=False).input_ids
        # The last token that is read, and the last of all, are the mark of the end.
        unread = ids[shortest.model_max_length - 1 : -1]
        return " ".join(str(shortest.decode(unread)).split())

    def embed(self, captions: Sequence[str]) -> PromptEmbeds:
        """The captions' embeddings."""
        return self.embed_tokens(self.tokenize(captions))

    @torch.no_grad()
    def embed_tokens(self, tokens: torch.Tensor) -> PromptEmbeds:
        """The embeddings of what `tokenize` gave.

        On the CPU one caption at a time: a product of matrices rounds otherwise in a larger batch, and a caption's
        embeddings must not depend, bit for bit, on its neighbours (a resumed run has others in its cache).
        """
        size = 1 if self.device.type == "cpu" else len(tokens)
        return concat_embeds([self._embed(part.to(self.device)) for part in tokens.split(size)])

    def _embed(self, tokens: torch.Tensor) -> PromptEmbeds:
        if self.family == "sd":
            return PromptEmbeds(self.text_encoders[0](tokens[:, 0])[0])
        outputs = [
            encoder(tokens[:, place], output_hidden_states=True)
            for place, encoder in enumerate(self.text_encoders)
        ]
        states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return PromptEmbeds(states, outputs[1].text_embeds)

    def negative(self, count: int) -> PromptEmbeds:
        """The embeddings that guidance leads away from, `count` times, as diffusers' pipelines take it."""
        empty = self.embed([""]).map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))
        return empty.map(torch.zeros_like) if self.force_zeros_for_empty_prompt else empty

    def predict(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        prompt_embeds: PromptEmbeds,
        features: Sequence[torch.Tensor] | None,
        pixels: tuple[int, int],
    ) -> torch.Tensor:
        """The noise that the UNet sees in scaled latents (N, channels, h, w), float32 of the same shape.

        timesteps: int64 (N,) or a scalar. features: an adapter's, added on the way down; None for none. pixels:
        (height, width) of the picture, which SDXL gets as the original and the target size, uncropped.
        """
        dtype = self.unet.dtype
        added: dict[str, Any] = {}
        if prompt_embeds.pooled is not None:
            sizes = torch.tensor([[*pixels, 0, 0, *pixels]], device=latents.device, dtype=dtype)
            added["text_embeds"] = prompt_embeds.pooled.to(dtype)
            added["time_ids"] = sizes.expand(len(latents), -1)
        noise: torch.Tensor = self.unet(
            latents.to(dtype),
            timesteps,
            encoder_hidden_states=prompt_embeds.states.to(dtype),
            added_cond_kwargs=added or None,
            # The UNet pops from this list, so it gets its own. SDXL's fourth feature is for the middle block.
            down_intrablock_additional_residuals=None if features is None else [f.to(dtype) for f in features],
        ).sample
        return noise.float()

    def encode(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the pictures' latents, unscaled, float32 (N, channels, h, w).

        pictures: (N, 3, H, W) in -1..1. On the CPU one at a time: their activations stay in the cache.
        """
        size = 1 if self.device.type == "cpu" else len(pictures)
        found = [self.vae.encode(part).latent_dist for part in pictures.to(self.vae.dtype).split(size)]
        means, deviations = zip(*((posterior.mean, posterior.std) for posterior in found), strict=True)
        return torch.cat(means).float(), torch.cat(deviations).float()

    def scale(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the autoencoder gives them -> as the UNet knows them, of variance about 1."""
        return latents * float(self.vae.config.scaling_factor)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents -> pictures, float32 (N, 3, H, W) in -1..1."""
        unscaled = latents / float(self.vae.config.scaling_factor)
        pictures: torch.Tensor = self.vae.decode(unscaled.to(self.vae.dtype)).sample
        return pictures.float().clamp(-1, 1)


def digest_base(base: Base) -> str:
    """sha256 over name, dtype, shape and bytes of every parameter and buffer of all networks, as they are used.

    A base in bfloat16 has another digest than the same base in float32: it predicts another noise.
    """
    return digest_networks(base.networks)


def digest_networks(networks: dict[str, torch.nn.Module]) -> str:
    digest = hashlib.sha256()
    for part, network in networks.items():
        for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
