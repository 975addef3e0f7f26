"""Pictures from captions, control images and seeds, by a frozen base, its own sampler, and adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from t2i_shards.adapters.base import Base, Control, Features, PromptEmbeds, concat_embeds
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.inpaint import Inpainting
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.compose import AdapterInput, check_base, compose
from t2i_shards.pipeline.errors import RequestError

Progress = Callable[[float], Any]
"""Called after each step with the number of pictures done: of those under way, the share of their steps."""


def sample_pictures(
    base: Base,
    adapter: Adapter,
    control_images: torch.Tensor,
    captions: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling | None = None,
    batch: int = 1,
) -> np.ndarray:
    """uint8 (N, H, W, 3): a picture for each control image, caption and seed; see `generate`.

    control_images: float32 (N, C, H, W) in 0..1, on any device.
    """
    height, width = control_images.shape[2:]
    adapter_input = AdapterInput(adapter, control_images)
    return generate(base, [adapter_input], captions, seeds, (height, width), sampling or Sampling(), batch=batch)


@torch.no_grad()
def generate(
    base: Base,
    adapter_inputs: Sequence[AdapterInput],
    captions: Sequence[str],
    seeds: Sequence[int],
    pixels: tuple[int, int],
    sampling: Sampling,
    *,
    control: Control | None = None,
    negative: str = "",
    inpainting: Inpainting | None = None,
    batch: int = 1,
    progress: Progress | None = None,
) -> np.ndarray:
    """uint8 (N, H, W, 3) RGB, a picture for each caption and seed; `pixels` is (H, W), multiples of 64.

    Adapter inputs hold one control image per picture, or one for all. A picture depends on its own caption,
    control image and seed, and not on its neighbours: the UNet always takes `batch` pictures at once, the last
    batch filled up with repeats, because another number would round otherwise in the last bit. control: a
    ControlNet in place of adapters. negative: what guidance leads away from. Raises RequestError for adapters that
    do not fit each other or the base.
    """
    check_base(base, adapter_inputs)
    away = base.embed([negative]) if negative else base.negative(1)
    say = progress or (lambda done: None)
    pictures: list[np.ndarray] = []
    for first in range(0, len(seeds), batch):
        count = min(batch, len(seeds) - first)
        rows = [first + place % count for place in range(batch)]
        some = [
            replace(adapter_input, control_images=_choose(adapter_input.control_images, rows).to(base.device))
            for adapter_input in adapter_inputs
        ]

        def tell(steps: int, before: int = len(pictures), share: float = count / (sampling.steps + 1)) -> None:
            say(before + steps * share)  # decoding counts as one more step

        latents = _denoise(
            base,
            some,
            _choose_control(control, rows, base),
            [captions[row] for row in rows],
            stream_noise(base, [seeds[row] for row in rows], pixels),
            sampling,
            away,
            inpainting,
            pixels,
            tell,
        )
        pictures.extend(_decode(base, latents, seeds[first])[:count])
        say(len(pictures))
    found = np.stack(pictures)
    return inpainting.paste(found) if inpainting else found


def draw_noise(base: Base, seeds: Sequence[int], pixels: tuple[int, int]) -> torch.Tensor:
    """float32 (N, channels, h, w): each from its seed alone, drawn on the CPU so that every device begins alike.

    The same that diffusers' pipelines draw from `generator=[torch.Generator().manual_seed(seed), ...]`.
    """
    return next(stream_noise(base, seeds, pixels))


def stream_noise(base: Base, seeds: Sequence[int], pixels: tuple[int, int]) -> Iterator[torch.Tensor]:
    """`draw_noise`, and then more of each picture's own seed, without end."""
    channels, rows, _ = base.latent_shape(pixels[0])
    shape = channels, rows, base.latent_shape(pixels[1])[2]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    while True:
        yield torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(base.device)


def _denoise(
    base: Base,
    adapter_inputs: Sequence[AdapterInput],
    control: Control | None,
    captions: Sequence[str],
    noises: Iterator[torch.Tensor],
    sampling: Sampling,
    away: PromptEmbeds,
    inpainting: Inpainting | None,
    pixels: tuple[int, int],
    tell: Callable[[int], Any],
) -> torch.Tensor:
    """float32 (N, channels, h, w): scaled latents without noise. tell: called with the number of steps done."""
    sampler, latents = base.make_sampler(sampling.steps, sampling.sampler), next(noises)
    prompt_embeds, guided = base.embed(captions), sampling.guidance > 1
    if guided:
        prompt_embeds = concat_embeds(
            [away.map(lambda tensor: tensor.expand(len(latents), *tensor.shape[1:])), prompt_embeds]
        )
    guide = _plan_guide(adapter_inputs, control, sampling, guided)
    known = inpainting.begin(latents, noises) if inpainting else None
    for step, timestep in enumerate(sampler.timesteps):
        if known:
            latents = known.restore(latents, base, timestep)
        twice = torch.cat([latents, latents]) if guided else latents
        predicted = base.denoise(twice, timestep.to(base.device), prompt_embeds, guide(step), pixels)
        if guided:
            without, with_ = predicted.chunk(2)
            predicted = without + sampling.guidance * (with_ - without)
        latents = sampler.step(predicted, timestep, latents)
        tell(step + 1)
    return known.finish(latents) if known else latents


def _decode(base: Base, latents: torch.Tensor, seed: int) -> np.ndarray:
    """uint8 (N, H, W, 3). seed: of the first. Raises RequestError where a value is not finite."""
    decoded = base.decode(latents)
    if not (torch.isfinite(latents).all() and torch.isfinite(decoded).all()):
        dtype = str(base.dtype).removeprefix("torch.")
        raise RequestError(
            f"the picture of seed {seed}, or of one generated with it, is not finite: the base "
            f"overflows in {dtype} (try --precision bf16 or fp32), or --scale or a weight is too large"
        )
    return to_pixels(decoded)


def _plan_guide(
    adapter_inputs: Sequence[AdapterInput], control: Control | None, sampling: Sampling, guided: bool
) -> Callable[[int], Features | None]:
    """What guides a step; features are made once for each selection of adapters that act together.

    With guidance it acts on both halves of a batch, as in the published sampler and in diffusers; in guess mode on
    the second, which has the caption.
    """
    if control:
        times = 2 if guided and not sampling.guess_mode else 1
        images = torch.cat([control.control_images] * times)
        controlled = replace(control, control_images=images, scale=sampling.scale, guess_mode=sampling.guess_mode)
        return lambda step: controlled if sampling.is_active(step) else None

    def double(feature: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(feature) if sampling.guess_mode else feature, feature])

    @cache
    def add(acting: tuple[int, ...]) -> Features | None:
        some = [adapter_inputs[place] for place in acting]
        if not some:
            return None
        features = compose(some, sampling.scale)
        return [double(feature) for feature in features] if guided else features

    parts = [adapter_input.active_steps for adapter_input in adapter_inputs]
    return lambda step: add(tuple(place for place, part in enumerate(parts) if sampling.is_active(step, part)))


def _choose_control(control: Control | None, rows: Sequence[int], base: Base) -> Control | None:
    if control is None:
        return None
    return replace(control, control_images=_choose(control.control_images, rows).to(base.device))


def to_pixels(pictures: torch.Tensor) -> np.ndarray:
    """float (N, 3, H, W) in -1..1 -> uint8 (N, H, W, 3)."""
    shades = (pictures.float() / 2 + 0.5).clamp(0, 1) * 255
    return shades.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _choose(control_images: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Those of the rows, or the one that is for all."""
    if len(control_images) == 1:
        return control_images.expand(len(rows), *control_images.shape[1:])
    return control_images[list(rows)]
