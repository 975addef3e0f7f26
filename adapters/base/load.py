"""Loading a base: from a folder, a file or the Hub, the one that ships, or a tiny one built on the spot."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from t2i_shards.adapters.base.base import Base
from t2i_shards.adapters.base.family import check_autoencoder, check_scheduler, find_family
from t2i_shards.adapters.base.mini import find_mini
from t2i_shards.adapters.base.offload import offload
from t2i_shards.adapters.base.parts import read_network, read_tokenizer
from t2i_shards.adapters.base.single_file import INDEX, open_single_file
from t2i_shards.adapters.base.stable_diffusion import StableDiffusion
from t2i_shards.adapters.options import Family, Precision
from t2i_shards.pipeline.errors import RequestError

if TYPE_CHECKING:
    from diffusers import DDPMScheduler

MINI = "mini"
TINY: dict[str, Family] = {"tiny": "sd", "tiny-xl": "sdxl"}
NAMES = (MINI, *TINY)
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(?<!\.safetensors)")
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def name_base(name: str) -> str:
    """The same base by a name that does from any folder: an absolute path where it is one."""
    return os.path.abspath(name) if name not in NAMES and os.path.exists(name) else name


def load_base(name: str, device: str = "cpu", dtype: torch.dtype | None = None, offloaded: bool = False) -> Base:
    """The base called `name`: "mini", "tiny" (SD), "tiny-xl" (SDXL), or a folder in diffusers' layout, one
    .safetensors file or a hub id.

    mini ships with this project; the tiny ones are built here, the same on every call. Of a folder or hub only
    safetensors are read.
    dtype: of the UNet and the text encoders, float32 when None, whatever they are stored as. offloaded: the
    networks are on the device only while they work. Raises RequestError for a base that cannot be loaded or that
    an adapter cannot be trained on.
    """
    dtype = dtype or torch.float32
    _refuse_unknown(name)
    base = _build_tiny(TINY[name]) if name in TINY else _read(str(find_mini()) if name == MINI else name)
    freeze_to(base, device, dtype, offloaded)
    return base


def _refuse_unknown(name: str) -> None:
    """RequestError for a name that is neither a base nor a path nor a hub id."""
    if name not in NAMES and not HUB_ID.fullmatch(name) and not Path(name).exists():
        raise RequestError(
            f"--base {name}: there is no such base, folder or file; "
            f"give {', '.join(NAMES)}, a folder, a .safetensors file, or a hub id USER/NAME"
        )


def freeze_to(base: Base, device: str, dtype: torch.dtype, offloaded: bool = False) -> None:
    """Freeze the networks and bring them to the device, in the dtype and the layout in which they are used.

    offloaded: they go there only while they work.
    """
    for part, network in base.networks.items():
        # SDXL's autoencoder overflows in float16 and gives black pictures; bfloat16 has float32's range.
        narrow = part == "vae" and dtype == torch.float16
        network.requires_grad_(False).eval()
        # diffusers' own `to` warns of layers that must stay in float32, of which these networks have none.
        torch.nn.Module.to(network, "cpu" if offloaded else device, torch.float32 if narrow else dtype)
    if device == "cpu":
        # Its convolutions take two thirds of the time with the channels last, picture by picture (see `encode`).
        torch.nn.Module.to(base.networks["vae"], memory_format=torch.channels_last)
    if offloaded:
        offload(base.networks.values(), device)


def _build_tiny(family: Family) -> StableDiffusion:
    from t2i_shards.adapters.base import tiny
    from t2i_shards.extractors.networks.mini_vae import build_vae

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tiny.SEED)
        unet, text_encoders = tiny.build_unet(family), tiny.build_text_encoders(family)
        vae = build_vae()
    tokenizers = tuple(tiny.build_tokenizer() for _ in text_encoders)
    schedule, zeros = make_noise_schedule(), family == "sdxl"
    return StableDiffusion(family, unet, vae, text_encoders, tokenizers, schedule, zeros)


def make_noise_schedule() -> DDPMScheduler:
    """Stable Diffusion's own."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


def _read(name: str) -> StableDiffusion:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    single = open_single_file(Path(name)) if Path(name).is_file() else None
    place = single.place if single else name
    read = single.read_network if single else partial(read_network, name)
    try:
        index = _read_index(place)
        schedule = DDPMScheduler.load_config(place, subfolder="scheduler")
        schedule = single.adapt_schedule(schedule) if single else schedule
        vae = AutoencoderKL.load_config(place, subfolder="vae")
        family = find_family(name, UNet2DConditionModel.load_config(place, subfolder="unet"), index, vae)
        check_scheduler(name, schedule)
        check_autoencoder(name, vae)
        second = ((CLIPTextModelWithProjection, "_2"),) if family == "sdxl" else ()
        texts = ((CLIPTextModel, ""), *second)
        return StableDiffusion(
            family,
            read(UNet2DConditionModel, "unet"),
            read(AutoencoderKL, "vae"),
            tuple(read(encoder, f"text_encoder{number}") for encoder, number in texts),
            tuple(read_tokenizer(place, f"tokenizer{number}") for _, number in texts),
            DDPMScheduler.from_config(schedule),
            force_zeros_for_empty_prompt=index.get("force_zeros_for_empty_prompt", family == "sdxl"),
        )
    except (OSError, ValueError) as error:
        kind = "folder" if Path(name).is_dir() else "hub id (there is no such folder)"
        kind = f"file with the configuration and tokenizer of {place}" if single else kind
        # After "If you want" diffusers speaks of arguments of its functions.
        reason = str(error).strip().splitlines()[0].split(". If you want")[0]
        if single and not Path(place).is_dir():
            reason += f"; without the Hub, put it into a folder that has {INDEX} and these in diffusers' layout"
        raise RequestError(f"--base {name}, taken as a {kind}, cannot be loaded: {reason}") from error


def _read_index(name: str) -> Mapping[str, Any]:
    """model_index.json, which a folder assembled by hand may lack."""
    from diffusers import DiffusionPipeline

    if Path(name).is_dir() and not (Path(name) / "model_index.json").exists():
        return {}
    index: Mapping[str, Any] = DiffusionPipeline.load_config(name)
    return index


def choose_device(asked: str, offloaded: bool = False) -> str:
    """ "cpu" or "cuda"; auto takes a GPU where there is one. Raises RequestError.

    offloaded: whether networks are to be brought to a GPU only while they work.
    """
    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise RequestError("--device cuda needs a GPU, and there is none; use cpu or auto")
    if offloaded and (asked == "cpu" or not found):
        reason = "there is none" if asked == "auto" else "--device is cpu"
        raise RequestError(f"--offload saves memory of a GPU, and {reason}; leave --offload out")
    return "cuda" if found and asked != "cpu" else "cpu"
