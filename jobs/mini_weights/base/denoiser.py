"""Train the UNet of the base mini together with its text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.adapters.base.diffusion import Diffusion
from t2i_shards.jobs.mini_weights.base.latents import mirror_captions
from t2i_shards.jobs.mini_weights.base.plan import Plan
from t2i_shards.jobs.mini_weights.base.scenes import CHUNK
from t2i_shards.jobs.mini_weights.loop import LoopConfig, Say, TrainedWeights, learn

if TYPE_CHECKING:
    from diffusers import DDPMScheduler
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    from t2i_shards.adapters.training.distributed import World

NAME = "unet"
EMPTY = 0.1
"""Share of the captions that are left out, for guidance."""


@dataclass(frozen=True)
class LatentDataset:
    """latents: see `load_latents`. tokens: int64 (2, N, tokens), of the captions and of those of the mirrored
    pictures. empty: int64 (tokens), of no caption."""

    latents: list[np.ndarray]
    tokens: np.ndarray
    empty: np.ndarray


def prepare(latents: list[np.ndarray], captions: Sequence[str], tokenizer: CLIPTokenizer) -> LatentDataset:
    both = [_tokenize(tokenizer, said) for said in (captions, mirror_captions(captions))]
    return LatentDataset(latents, np.stack(both), _tokenize(tokenizer, [""])[0])


def _tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> np.ndarray:
    return np.asarray(tokenizer(list(captions), padding="max_length", truncation=True).input_ids, np.int64)


def train(
    plan: Plan,
    both: nn.ModuleDict,
    scheduler: DDPMScheduler,
    dataset: LatentDataset,
    folder: Path,
    say: Say,
    world: World,
) -> TrainedWeights:
    """Leaves the averaged weights in the networks, `unet` and `text_encoder`."""
    import torch

    unet, text_encoder = both.train()["unet"], both["text_encoder"]
    optimizer = torch.optim.AdamW(both.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    weights = Diffusion(scheduler).loss_weights
    batch = plan.batch // world.world_size
    loop = LoopConfig(
        NAME,
        folder / f"{NAME}.pt",
        plan.steps,
        lambda step: rate_at(step, plan),
        decay=0.999,
        kept_every=plan.kept_every,
    )

    def loss(step: int) -> Mapping[str, Tensor]:
        latents, tokens, times = draw_batch(dataset, key := (plan.seed, step, world.rank), batch, len(weights))
        noise = torch.from_numpy(draw_noise((*key, 1), latents.shape, plan.noise_offset))
        noisy = scheduler.add_noise(torch.from_numpy(latents), noise, torch.from_numpy(times))
        context = text_encoder(torch.from_numpy(tokens))[0]
        found = unet(noisy, torch.from_numpy(times), encoder_hidden_states=context).sample
        error = ((found - noise) ** 2).mean(dim=(1, 2, 3))
        return {"error": (weights[times] * error).mean()}

    trained = learn(both, optimizer, loss, loop, say, world)
    both.load_state_dict(trained.weights)
    both.eval()
    return trained


def rate_at(step: int, plan: Plan) -> float:
    """The learning rate: up, level, and down to zero over the last share of the steps.

    Where it is level, it does not depend on the number of steps: a run may be prolonged as it goes.
    """
    return plan.rate * min(1.0, (step + 1) / 200, (plan.steps - step) / (plan.fall * plan.steps))


def draw_batch(
    dataset: LatentDataset, key: tuple[int, ...], batch: int, time_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents float32 (N, 4, h, w), drawn from their distributions; tokens int64 (N, tokens); times int64 (N,)."""
    rng = np.random.default_rng(key)
    latents, tokens = [], []
    for _ in range(batch):
        index, side = int(rng.integers(dataset.tokens.shape[1])), int(rng.integers(2))
        mean, deviation = dataset.latents[index // CHUNK][index % CHUNK][side].astype(np.float32)
        latents.append(mean + deviation * rng.standard_normal(mean.shape, np.float32))
        tokens.append(dataset.empty if rng.random() < EMPTY else dataset.tokens[side, index])
    # Spread evenly over the time steps, which makes the loss less noisy than free draws.
    times = (rng.permutation(batch) + rng.random(batch)) / batch * time_steps
    return np.stack(latents), np.stack(tokens), times.astype(np.int64)


def draw_noise(key: tuple[int, ...], shape: tuple[int, ...], offset: float) -> np.ndarray:
    """float32 (N, C, h, w): standard normal, plus a value per channel with standard deviation `offset`."""
    rng = np.random.default_rng(key)
    noise = rng.standard_normal(shape, np.float32)
    return noise + np.float32(offset) * rng.standard_normal((*shape[:2], 1, 1), np.float32)
