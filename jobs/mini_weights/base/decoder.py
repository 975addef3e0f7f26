"""Train the base mini's decoder further; the encoder, and so all that was learned from latents, stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from t2i_shards.jobs.mini_weights.base.autoencoder import compare, draw_crops
from t2i_shards.jobs.mini_weights.base.plan import Plan
from t2i_shards.jobs.mini_weights.base.scenes import SIZE, CaptionedScenes
from t2i_shards.jobs.mini_weights.loop import LoopConfig, Say, TrainedWeights, learn
from t2i_shards.jobs.mini_weights.train import rate_at
from t2i_shards.pipeline.extract import load_extractor

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from torch import Tensor, nn

    from t2i_shards.adapters.training.distributed import World

NAME = "decoder"
RATE = 1e-3
FEATURES = 0.15
"""Weight of the difference of features, as the perceptual loss of Stable Diffusion's autoencoder (LPIPS, arXiv
1801.03924): without it, limbs and faces become blots, which cost little in pixels."""
STAGES = ("stem", "stage1", "stage2")
"""Of the backbone whose features are compared: down to an eighth of what it sees."""


def train(
    plan: Plan, vae: AutoencoderKL, scenes: CaptionedScenes, folder: Path, say: Say, world: World
) -> TrainedWeights:
    """Leaves the averaged weights in the autoencoder."""
    moving = parts_of(vae).train()
    optimizer = torch.optim.AdamW(moving.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    backbone = load_backbone()
    loop = LoopConfig(
        NAME,
        folder / f"{NAME}.pt",
        plan.decoder_steps,
        lambda step: RATE * rate_at(step, (plan.decoder_steps,)),
        decay=0.995,
        kept_every=plan.kept_every,
    )

    def loss(step: int) -> Mapping[str, Tensor]:
        key = (plan.seed, step, world.rank)
        crops = draw_crops(scenes, key, max(1, plan.decoder_batch // world.world_size), SIZE)
        pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            posterior = vae.encode(pictures).latent_dist
            seen = see_features(backbone, pictures)
        largest = plan.decoder_noise / vae.config.scaling_factor
        latents = posterior.mean + torch.from_numpy(draw_noise((*key, 1), posterior.mean.shape, largest))
        with torch.autocast("cpu", torch.bfloat16):
            again = vae.decode(latents).sample.float()
        differences = compare_features(see_features(backbone, again), seen)
        return {**compare(again, pictures), "features": FEATURES * differences}

    trained = learn(moving, optimizer, loss, loop, say, world)
    moving.load_state_dict(trained.weights)
    moving.eval()
    return trained


def draw_noise(key: tuple[int, ...], shape: tuple[int, ...], largest: float) -> np.ndarray:
    """Normal noise float32 (N, C, h, w), its deviation drawn for each picture from 0 to `largest`."""
    rng = np.random.default_rng(key)
    deviations = rng.uniform(0, largest, (shape[0], 1, 1, 1))
    return (deviations * rng.standard_normal(shape)).astype(np.float32)


def parts_of(vae: AutoencoderKL) -> nn.ModuleDict:
    """What is trained."""
    return torch.nn.ModuleDict({name: getattr(vae, name) for name in ("decoder", "post_quant_conv")})


def load_backbone() -> nn.Module:
    """Of the mini network of keypose."""
    extractor: Any = load_extractor("keypose", "mini", None, "cpu")
    backbone: nn.Module = extractor.backbone
    backbone.eval()  # returns nothing, as mmpose overrides `train`
    return backbone.requires_grad_(False)


def see_features(backbone: nn.Module, pictures: Tensor) -> list[Tensor]:
    """Of STAGES, float32, of pictures (N, 3, H, W) in -1..1. It sees them at twice their size, as BGR 0..255."""
    larger = F.interpolate((pictures + 1) * 127.5, scale_factor=2.0, mode="bilinear", align_corners=False)
    x, found = larger.flip(1).contiguous(memory_format=torch.channels_last), []
    with torch.autocast("cpu", torch.bfloat16):
        for stage in STAGES:
            x = backbone.get_submodule(stage)(x)
            found.append(x.float())
    return found


def compare_features(again: Sequence[Tensor], seen: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference, over that of the true picture's features from 0; a scalar."""
    return torch.stack(
        [(a - s).abs().mean() / s.abs().mean().clamp(min=1e-3) for a, s in zip(again, seen, strict=True)]
    ).mean()
