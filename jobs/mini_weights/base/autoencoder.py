"""Train the autoencoder of the base mini, Stable Diffusion's made small, on crops of scenes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.extractors.maps.crop import STRIDE
from t2i_shards.jobs.mini_weights.base.plan import Plan
from t2i_shards.jobs.mini_weights.base.scenes import SIZE, CaptionedScenes
from t2i_shards.jobs.mini_weights.loop import LoopConfig, Say, TrainedWeights, learn
from t2i_shards.jobs.mini_weights.train import rate_at

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from torch import Tensor

    from t2i_shards.adapters.training.distributed import World

NAME = "autoencoder"
RATE = 1e-3
CROP = 64
WHOLE = 0.1
"""The last share of the steps, which see whole scenes, CROP**2 / SIZE**2 times as many."""
COLOUR = 2.0
"""Weight of the error of the mean colour of a latent's cell; without it, hues are learned last."""
KL = 1e-4
"""Weight of the mean divergence of a latent's distribution from a standard normal one. Much more than Stable
Diffusion's: a decoder that is used to a little noise forgives a small UNet its errors."""


def train(
    plan: Plan, vae: AutoencoderKL, scenes: CaptionedScenes, folder: Path, say: Say, world: World
) -> TrainedWeights:
    """Leaves the averaged weights in the autoencoder."""
    import torch

    optimizer = torch.optim.AdamW(vae.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    steps = plan.vae_steps
    loop = LoopConfig(
        NAME,
        folder / f"{NAME}.pt",
        steps,
        lambda step: RATE * rate_at(step, (steps,)),
        decay=0.998,
        kept_every=plan.kept_every,
    )

    def loss(step: int) -> Mapping[str, Tensor]:
        whole = step >= steps * (1 - WHOLE)
        crop, batch = (SIZE, plan.vae_batch * CROP**2 // SIZE**2) if whole else (CROP, plan.vae_batch)
        key = (plan.seed, step, world.rank)
        pictures = torch.from_numpy(draw_crops(scenes, key, max(1, batch // world.world_size), crop))
        return losses(vae, pictures.permute(0, 3, 1, 2).float() / 127.5 - 1, key)

    trained = learn(vae.train(), optimizer, loss, loop, say, world)
    vae.load_state_dict(trained.weights)
    vae.eval()
    return trained


def losses(vae: AutoencoderKL, pictures: Tensor, key: tuple[int, ...]) -> Mapping[str, Tensor]:
    """What `compare` finds, and a weak divergence."""
    import torch

    with torch.autocast("cpu", torch.bfloat16):
        moments = vae.quant_conv(vae.encoder(pictures)).float()
    mean, logvar = moments.chunk(2, dim=1)
    logvar = logvar.clamp(-30, 20)
    noise = torch.from_numpy(np.random.default_rng((*key, 1)).standard_normal(mean.shape, np.float32))
    with torch.autocast("cpu", torch.bfloat16):
        again = vae.decode(mean + noise * torch.exp(logvar / 2)).sample.float()
    divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    return {**compare(again, pictures), "kl": KL * divergence}


def compare(again: Tensor, pictures: Tensor) -> Mapping[str, Tensor]:
    """Absolute and squared error, that of cells' colours and of the differences between neighbours.

    The differences are what keeps thin limbs: a limb that is left out costs little in the rest.
    """
    import torch

    error = again - pictures
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    colour = COLOUR * torch.nn.functional.avg_pool2d(error, STRIDE).abs().mean()
    return {"absolute": error.abs().mean(), "squared": (error**2).mean(), "edges": edges, "colour": colour}


def draw_crops(scenes: CaptionedScenes, key: tuple[int, ...], batch: int, crop: int) -> np.ndarray:
    """Random crops of random scenes, half of them mirrored: uint8 (N, crop, crop, 3), a function of `key`."""
    rng = np.random.default_rng(key)
    crops = []
    for _ in range(batch):
        picture = scenes.picture(int(rng.integers(len(scenes))))
        y, x = rng.integers(SIZE - crop + 1, size=2)
        crops.append(picture[y : y + crop, x : x + crop][:, :: -1 if rng.random() < 0.5 else 1])
    return np.stack(crops)


def measure_psnr(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    """Mean PSNR in dB of uint8 pictures (N, H, W, 3) after encoding and decoding, rounded to 0..255."""
    import torch

    found = []
    with torch.no_grad():
        for picture in pictures:
            x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
            again = vae.decode(vae.encode(x / 127.5 - 1).latent_dist.mean).sample
            again = ((again.clamp(-1, 1) + 1) * 127.5).round()
            found.append(10 * float(torch.log10(255**2 / ((again - x) ** 2).mean())))
    return float(np.mean(found))
