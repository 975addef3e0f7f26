"""The scenes as the trained autoencoder sees them, and mirrored; kept in files that the UNet learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.jobs.mini_weights.base.scenes import CHUNK, CaptionedScenes
from t2i_shards.jobs.mini_weights.loop import Say, save_array

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from t2i_shards.adapters.training.distributed import World

BATCH = 10


def load_latents(
    vae: AutoencoderKL, scenes: CaptionedScenes, folder: Path, say: Say, world: World
) -> list[np.ndarray]:
    """Memory-mapped float16 (CHUNK, 2, 2, 4, h, w) each: plain and mirrored; mean and deviation, scaled.

    What is not there yet is encoded, in bfloat16, which is twice as fast; other weights have another folder.
    """
    from t2i_shards.extractors.networks.vae import digest_encoder

    place = folder / f"latents-{digest_encoder(vae.state_dict())[:16]}"
    place.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, pictures in enumerate(scenes.pictures):
        path = place / f"{number * CHUNK:06d}-{len(pictures)}.npy"
        paths.append(path)
        if number % world.world_size == world.rank and not path.is_file():
            save_array(path, _encode(vae, pictures))
            say(f"latents of {number * CHUNK + len(pictures)} scenes of {len(scenes)}")
    world.barrier()
    return [np.load(path, mmap_mode="r") for path in paths]


def _encode(vae: AutoencoderKL, pictures: np.ndarray) -> np.ndarray:
    import torch

    found = []
    for start in range(0, len(pictures), BATCH):
        x = torch.from_numpy(np.array(pictures[start : start + BATCH])).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            seen = [vae.encode(view).latent_dist for view in (x, x.flip(3))]
        views = [torch.stack([each.mean, each.std], dim=1).float() * vae.config.scaling_factor for each in seen]
        found.append(torch.stack(views, dim=1).half().numpy())
    return np.concatenate(found)


def measure_scale(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    """What brings the latents of pictures to a standard deviation of 1."""
    import torch

    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        means = [vae.encode(part).latent_dist.mean for part in x.split(BATCH)]
    return float(1 / torch.cat(means).std())


def mirror_captions(captions: Sequence[str]) -> list[str]:
    """What is true of the mirrored pictures."""
    swapped = {"left": "right", "right": "left"}
    return [" ".join(swapped.get(word, word) for word in caption.split(" ")) for caption in captions]
