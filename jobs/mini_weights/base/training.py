"""The parts of the base mini, trained one after the other and put together in diffusers' layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from t2i_shards.jobs.mini_weights.base import autoencoder, decoder, denoiser
from t2i_shards.jobs.mini_weights.base.initial_weights import init_autoencoder
from t2i_shards.jobs.mini_weights.base.latents import load_latents, measure_scale
from t2i_shards.jobs.mini_weights.base.plan import Plan
from t2i_shards.jobs.mini_weights.base.scenes import CaptionedScenes, load_scenes
from t2i_shards.jobs.mini_weights.base.ship import ship
from t2i_shards.jobs.mini_weights.loop import Say, TrainedWeights, read_trained
from t2i_shards.pipeline.errors import RequestError

if TYPE_CHECKING:
    from torch import nn

    from t2i_shards.adapters.base import StableDiffusion
    from t2i_shards.adapters.training.distributed import World

SCALED_ON = 500
"""Scenes whose latents decide the scaling factor."""


@dataclass(frozen=True)
class TrainRequest:
    """further: from the shipped weights."""

    out: Path
    plan: Plan
    parts: Sequence[str]
    further: bool


def train_base(request: TrainRequest, say: Say, world: World) -> Path | None:
    """OUT/mini, the base with the parts as far as they are trained; None as long as there is no UNet.

    Raises RequestError where a part is missing that another one builds on.
    """
    import torch

    from t2i_shards.extractors.batch import fixed_threads

    with fixed_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.plan.seed)
        scenes = load_scenes(request.out, request.plan.seed, request.plan.scenes, say, world)
        base = _begin(request, scenes)
        done = {
            "autoencoder": _train_vae(request, base, scenes, say, world),
            "decoder": _train_decoder(request, base, scenes, say, world),
            "unet": _train_unet(request, base, scenes, say, world),
        }
        if done["unet"] is None and not request.further:
            return None
        folder = request.out / "mini"
        if world.is_main:
            told = {name: trained for name, trained in done.items() if trained is not None}
            ship(base, folder, request.plan, told, request.further)
        world.barrier()
    return folder


def _begin(request: TrainRequest, scenes: CaptionedScenes) -> StableDiffusion:
    """All networks before the first step."""
    from t2i_shards.adapters.base import StableDiffusion, load_base
    from t2i_shards.adapters.base.load import make_noise_schedule
    from t2i_shards.adapters.base.mini import networks
    from t2i_shards.jobs.mini_weights.base.tokenizer import build_tokenizer

    if request.further:
        base = load_base("mini")
        assert isinstance(base, StableDiffusion)
        for network in base.networks.values():
            network.requires_grad_(True)
        return base
    vae = networks.build_vae()
    init_autoencoder(vae)
    tokenizer = build_tokenizer(scenes.captions)
    texts = (networks.build_text_encoder(tokenizer),)
    return StableDiffusion("sd", networks.build_unet(), vae, texts, (tokenizer,), make_noise_schedule())


def _train_vae(
    request: TrainRequest, base: StableDiffusion, scenes: CaptionedScenes, say: Say, world: World
) -> TrainedWeights | None:
    """The autoencoder, and the scale of its latents."""
    plan, vae = request.plan, base.vae
    few = replace(scenes, captions=scenes.captions[: plan.vae_scenes])
    trained = _part(
        request, "autoencoder", vae, lambda: autoencoder.train(plan, vae, few, request.out, say, world)
    )
    if trained is not None:
        # As it will be shipped, so that the UNet learns from the latents that it will meet.
        vae.half().float()
        vae.register_to_config(scaling_factor=measure_scale(vae, scenes.pictures[0][:SCALED_ON]))
    elif not request.further:
        raise RequestError(
            f"there is no autoencoder in {request.out} yet: train it first, with --only autoencoder"
        )
    return trained


def _train_decoder(
    request: TrainRequest, base: StableDiffusion, scenes: CaptionedScenes, say: Say, world: World
) -> TrainedWeights | None:
    """Nothing that is learned from the encoder's latents depends on it."""
    parts = decoder.parts_of(base.vae)
    return _part(
        request, "decoder", parts, lambda: decoder.train(request.plan, base.vae, scenes, request.out, say, world)
    )


def _train_unet(
    request: TrainRequest, base: StableDiffusion, scenes: CaptionedScenes, say: Say, world: World
) -> TrainedWeights | None:
    import torch

    both = torch.nn.ModuleDict({"unet": base.unet, "text_encoder": base.text_encoders[0]})

    def train() -> TrainedWeights:
        latents = load_latents(base.vae, scenes, request.out, say, world)
        dataset = denoiser.prepare(latents, scenes.captions, base.tokenizers[0])
        return denoiser.train(request.plan, both, base.scheduler, dataset, request.out, say, world)

    return _part(request, "unet", both, train)


def _part(
    request: TrainRequest, name: str, network: nn.Module, train: Callable[[], TrainedWeights]
) -> TrainedWeights | None:
    """Train a part if it is requested, else take it from its checkpoint; None if there is none and it stays."""
    if name in request.parts:
        return train()
    trained = read_trained(request.out / f"{name}.pt")
    if trained is not None:
        network.load_state_dict(trained.weights)
        network.eval()
    return trained
