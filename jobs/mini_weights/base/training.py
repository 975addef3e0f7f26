"""The parts of the base mini, trained one after the other and put together in diffusers' layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from t2i_shards.jobs.mini_weights.base import autoencoder, decoder, denoiser
from t2i_shards.jobs.mini_weights.base.first import carry_colours
from t2i_shards.jobs.mini_weights.base.latents import load_latents, measure_scale
from t2i_shards.jobs.mini_weights.base.plan import Plan
from t2i_shards.jobs.mini_weights.base.scenes import Captioned, load_scenes
from t2i_shards.jobs.mini_weights.base.ship import ship
from t2i_shards.jobs.mini_weights.loop import Learnt, Say, read_learnt
from t2i_shards.pipeline.errors import RequestError

if TYPE_CHECKING:
    from torch import nn

    from t2i_shards.adapters.base import StableDiffusion
    from t2i_shards.adapters.training.distributed import World

SCALED_ON = 500
"""Scenes whose latents decide the scaling factor."""


@dataclass(frozen=True)
class Asked:
    """further: from the shipped weights."""

    out: Path
    plan: Plan
    parts: Sequence[str]
    further: bool


def train_base(asked: Asked, say: Say, world: World) -> Path | None:
    """OUT/mini, the base with the parts as far as they are trained; None as long as there is no UNet.

    Raises RequestError where a part is missing that another one builds on.
    """
    import torch

    from t2i_shards.extractors.batch import fixed_threads

    with fixed_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(asked.plan.seed)
        scenes = load_scenes(asked.out, asked.plan.seed, asked.plan.scenes, say, world)
        base = _begin(asked, scenes)
        done = {
            "autoencoder": _train_vae(asked, base, scenes, say, world),
            "decoder": _train_decoder(asked, base, scenes, say, world),
            "unet": _train_unet(asked, base, scenes, say, world),
        }
        if done["unet"] is None and not asked.further:
            return None
        folder = asked.out / "mini"
        if world.is_main:
            told = {name: learnt for name, learnt in done.items() if learnt is not None}
            ship(base, folder, asked.plan, told, asked.further)
        world.barrier()
    return folder


def _begin(asked: Asked, scenes: Captioned) -> StableDiffusion:
    """All networks before the first step."""
    from t2i_shards.adapters.base import StableDiffusion, load_base
    from t2i_shards.adapters.base.load import make_noise_schedule
    from t2i_shards.adapters.base.mini import networks
    from t2i_shards.jobs.mini_weights.base.tokenizer import build_tokenizer

    if asked.further:
        base = load_base("mini")
        assert isinstance(base, StableDiffusion)
        for network in base.networks.values():
            network.requires_grad_(True)
        return base
    vae = networks.build_vae()
    carry_colours(vae)
    tokenizer = build_tokenizer(scenes.captions)
    texts = (networks.build_text_encoder(tokenizer),)
    return StableDiffusion("sd", networks.build_unet(), vae, texts, (tokenizer,), make_noise_schedule())


def _train_vae(asked: Asked, base: StableDiffusion, scenes: Captioned, say: Say, world: World) -> Learnt | None:
    """The autoencoder, and the scale of its latents."""
    plan, vae = asked.plan, base.vae
    few = replace(scenes, captions=scenes.captions[: plan.vae_scenes])
    learnt = _part(asked, "autoencoder", vae, lambda: autoencoder.train(plan, vae, few, asked.out, say, world))
    if learnt is not None:
        # As it will be shipped, so that the UNet learns from the latents that it will meet.
        vae.half().float()
        vae.register_to_config(scaling_factor=measure_scale(vae, scenes.pictures[0][:SCALED_ON]))
    elif not asked.further:
        raise RequestError(f"there is no autoencoder in {asked.out} yet: train it first, with --only autoencoder")
    return learnt


def _train_decoder(
    asked: Asked, base: StableDiffusion, scenes: Captioned, say: Say, world: World
) -> Learnt | None:
    """What is learnt of the encoder's latents does not depend on it."""
    parts = decoder.parts_of(base.vae)
    return _part(
        asked, "decoder", parts, lambda: decoder.train(asked.plan, base.vae, scenes, asked.out, say, world)
    )


def _train_unet(asked: Asked, base: StableDiffusion, scenes: Captioned, say: Say, world: World) -> Learnt | None:
    import torch

    both = torch.nn.ModuleDict({"unet": base.unet, "text_encoder": base.text_encoders[0]})

    def train() -> Learnt:
        latents = load_latents(base.vae, scenes, asked.out, say, world)
        lesson = denoiser.prepare(latents, scenes.captions, base.tokenizers[0])
        return denoiser.train(asked.plan, both, base.scheduler, lesson, asked.out, say, world)

    return _part(asked, "unet", both, train)


def _part(asked: Asked, name: str, network: nn.Module, train: Callable[[], Learnt]) -> Learnt | None:
    """Train a part if that is asked, else take it from its checkpoint; None if there is none and it stays."""
    if name in asked.parts:
        return train()
    learnt = read_learnt(asked.out / f"{name}.pt")
    if learnt is not None:
        network.load_state_dict(learnt.weights)
        network.eval()
    return learnt
