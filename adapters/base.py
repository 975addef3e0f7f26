"""The frozen Stable Diffusion that an adapter is trained on: read, never written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import RequestError

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

TINY_SEED = 0


@dataclass(frozen=True)
class Base:
    """The parts of a latent diffusion model, in evaluation mode, none with `requires_grad`."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDPMScheduler

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        return {"text_encoder": self.text_encoder, "unet": self.unet, "vae": self.vae}

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

    def embed(self, captions: Sequence[str]) -> torch.Tensor:
        """The UNet's context, (N, tokens, width); captions are cut to the text encoder's length."""
        ids = self.tokenizer(
            list(captions),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        context: torch.Tensor = self.text_encoder(ids.to(self.device))[0]
        return context


def load_base(name: str, device: str = "cpu") -> Base:
    """The base called `name`, of the SD 1.x family: a folder in diffusers' layout, a hub id, or "tiny".

    "tiny" is built here, the same on every call. Of a folder or hub only safetensors are read.
    Raises RequestError for a base that cannot be had or is of another family.
    """
    base = _build_tiny() if name == "tiny" else _read(name)
    if base.unet.config.addition_embed_type is not None:
        raise RequestError(
            f"--base must be of the Stable Diffusion 1.x family, and {name} is an SDXL, not supported yet"
        )
    if base.scheduler.config.prediction_type != "epsilon":
        raise RequestError(
            f"--base must predict the noise (epsilon), and {name} predicts {base.scheduler.config.prediction_type}"
        )
    for network in base.networks.values():
        network.requires_grad_(False).eval().to(device)
    return base


def _build_tiny() -> Base:
    import torch
    from diffusers import DDPMScheduler

    from adapters import tiny

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TINY_SEED)
        unet, text_encoder = tiny.build_unet(), tiny.build_text_encoder()
        vae = tiny.build_vae()
    # Stable Diffusion's own noise schedule.
    scheduler = DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )
    return Base(unet, vae, text_encoder, tiny.build_tokenizer(), scheduler)


def _read(name: str) -> Base:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    try:
        return Base(
            UNet2DConditionModel.from_pretrained(name, subfolder="unet", use_safetensors=True),
            AutoencoderKL.from_pretrained(name, subfolder="vae", use_safetensors=True),
            CLIPTextModel.from_pretrained(name, subfolder="text_encoder", use_safetensors=True),
            CLIPTokenizer.from_pretrained(name, subfolder="tokenizer"),
            DDPMScheduler.from_pretrained(name, subfolder="scheduler"),
        )
    except (OSError, ValueError) as error:
        kind = "folder" if Path(name).is_dir() else "hub id (there is no such folder)"
        reason = str(error).strip().splitlines()[0]
        raise RequestError(f"--base {name}, taken as a {kind}, cannot be had: {reason}") from error


def digest_base(base: Base) -> str:
    """sha256 over name, dtype, shape and bytes of every parameter and buffer of the three networks."""
    import torch

    digest = hashlib.sha256()
    for part, network in base.networks.items():
        for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
