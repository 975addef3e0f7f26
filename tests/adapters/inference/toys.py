"""Pictures as floats from here and from diffusers' own pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, T2IAdapter

from t2i_shards.adapters.base import StableDiffusion
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.sampler import generate
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.diffusers_io import save_adapter

CAPTIONS = ["a red disc", "two blue cubes"]
SEEDS = [11, 5]
SIZE = (128, 64)  # height, width
SD = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "leading", "steps_offset": 1}
"""What scheduler_config.json of Stable Diffusion 1.x says that concerns DDIM."""
CLOSE = 1e-5
"""Of pictures in 0..1."""


def control_images(count: int = 2, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return (torch.rand((count, 1, *size), generator=torch.Generator().manual_seed(1)) > 0.8).float()


def plain(base: StableDiffusion, sampling: Sampling, **options: Any) -> np.ndarray:
    return generate(base, [], CAPTIONS, SEEDS, SIZE, sampling, **options)


def theirs(pipeline: Any, sampling: Sampling, **options: Any) -> np.ndarray:
    """float (N, H, W, 3) in 0..1, of a diffusers pipeline with the same seeds."""
    pipeline.set_progress_bar_config(disable=True)
    pictures: np.ndarray = pipeline(
        CAPTIONS,
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
        **options,
    ).images
    return pictures


def sd_parts(base: StableDiffusion) -> dict[str, Any]:
    return {
        "vae": base.vae,
        "text_encoder": base.text_encoders[0],
        "tokenizer": base.tokenizers[0],
        "unet": base.unet,
        "scheduler": DDIMScheduler.from_config(base.scheduler.config, **SD),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def worst(ours: np.ndarray, others: np.ndarray) -> float:
    assert ours.shape == others.shape
    return float(np.abs(ours.astype(float) - others).max())


def exported(adapter: Adapter, folder: Path) -> T2IAdapter:
    save_adapter(adapter, folder)
    loaded, info = T2IAdapter.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    return loaded
