"""The frozen Stable Diffusion that an adapter is trained on: read, never written.

Two families. SD (1.x and 2.x) reads captions with one text encoder. SDXL reads them with two, and its UNet is also
given a pooled summary of the caption and the picture's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from t2i_shards.adapters.base.base import Features, PromptEmbeds, concat_embeds
from t2i_shards.adapters.base.control import Control
from t2i_shards.adapters.base.diffusion import Diffusion
from t2i_shards.adapters.base.offload import find_device
from t2i_shards.adapters.options import Family

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


@dataclass(frozen=True)
class StableDiffusion(Diffusion):
    """A `Base`. Each method's contract is written there.

    force_zeros_for_empty_prompt: whether guidance leads away from zeros instead of from the empty caption; named
    as in SDXL's model_index.json.
    """

    family: Family
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[CLIPTextModel] | tuple[CLIPTextModel, CLIPTextModelWithProjection]
    tokenizers: tuple[CLIPTokenizer, ...]
    scheduler: DDPMScheduler
    force_zeros_for_empty_prompt: bool = False

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        texts = zip(("text_encoder", "text_encoder_2"), self.text_encoders, strict=False)
        return {**dict(texts), "unet": self.unet, "vae": self.vae}

    @property
    def denoiser(self) -> UNet2DConditionModel:
        return self.unet

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.unet.config.block_out_channels)

    @property
    def device(self) -> torch.device:
        return find_device(self.unet)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.unet.parameters()).dtype
        return dtype

    def latent_shape(self, size: int) -> tuple[int, int, int]:
        side = size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return int(self.vae.config.latent_channels), side, side

    def tokenize(self, captions: Sequence[str]) -> torch.Tensor:
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
        shortest = min(self.tokenizers, key=lambda tokenizer: tokenizer.model_max_length)
        ids = shortest(caption, verbose=False).input_ids
        # The last token that is read, and the last of all, are the mark of the end.
        unread = ids[shortest.model_max_length - 1 : -1]
        return " ".join(str(shortest.decode(unread)).split())

    def embed(self, captions: Sequence[str]) -> PromptEmbeds:
        return self.embed_tokens(self.tokenize(captions))

    @torch.no_grad()
    def embed_tokens(self, tokens: torch.Tensor) -> PromptEmbeds:
        """On the CPU one caption at a time: a product of matrices rounds otherwise in a larger batch.

        A caption's embeddings must not depend, bit for bit, on its neighbours (a resumed run has others in its
        cache).
        """
        size = 1 if self.device.type == "cpu" else len(tokens)
        return concat_embeds([self._embed(part.to(self.device)) for part in tokens.split(size)])

    @property
    def embeds_form(self) -> PromptEmbeds:
        dtype, tokens = self.text_encoders[0].dtype, self.tokenizers[0].model_max_length
        width = sum(encoder.config.hidden_size for encoder in self.text_encoders)
        states = torch.empty(1, tokens, width, dtype=dtype, device="meta")
        if self.family == "sd":
            return PromptEmbeds(states)
        projected = self.text_encoders[1].config.projection_dim  # type: ignore[misc]  # SDXL has two
        return PromptEmbeds(states, torch.empty(1, projected, dtype=dtype, device="meta"))

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
        """As diffusers' pipelines take it."""
        empty = self.embed([""]).map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))
        return empty.map(torch.zeros_like) if self.force_zeros_for_empty_prompt else empty

    def encode(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """On the CPU one at a time: their activations stay in the cache."""
        size = 1 if self.device.type == "cpu" else len(pictures)
        found = [self.vae.encode(part).latent_dist for part in pictures.to(self.vae.dtype).split(size)]
        means, deviations = zip(*((posterior.mean, posterior.std) for posterior in found), strict=True)
        return torch.cat(means).float(), torch.cat(deviations).float()

    def scale(self, latents: torch.Tensor) -> torch.Tensor:
        return latents * float(self.vae.config.scaling_factor)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        unscaled = latents / float(self.vae.config.scaling_factor)
        pictures: torch.Tensor = self.vae.decode(unscaled.to(self.vae.dtype)).sample
        return pictures.float().clamp(-1, 1)

    def denoise(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        prompt_embeds: PromptEmbeds,
        features: Features | None,
        pixels: tuple[int, int],
    ) -> torch.Tensor:
        """SDXL is given `pixels` as the original and the target size, uncropped."""
        dtype = self.dtype
        latents, states = latents.to(dtype), prompt_embeds.states.to(dtype)
        added: dict[str, Any] = {}
        if prompt_embeds.pooled is not None:
            sizes = torch.tensor([[*pixels, 0, 0, *pixels]], device=latents.device, dtype=dtype)
            added["text_embeds"] = prompt_embeds.pooled.to(dtype)
            added["time_ids"] = sizes.expand(len(latents), -1)
        guided: dict[str, Any] = {}
        if isinstance(features, Control):
            guided = features.residuals(latents, timesteps, states, added or None)
        elif features is not None:
            # The UNet pops from this list, so it gets its own. SDXL's fourth feature is for the middle block.
            guided = {"down_intrablock_additional_residuals": [feature.to(dtype) for feature in features]}
        predicted: torch.Tensor = self.unet(
            latents, timesteps, encoder_hidden_states=states, added_cond_kwargs=added or None, **guided
        ).sample
        return predicted.float()
