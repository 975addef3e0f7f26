"""From the stream's samples to tensors. All that is random in a visit comes from (seed, epoch, key)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from extractors.registry import format_of, make_extractor
from pipeline.errors import RequestError
from pipeline.image import decode_rgb
from pipeline.sample import Sample


@dataclass(frozen=True)
class Framing:
    """What of a sample is used. size: side of the square crop, pixels. latent: (channels, height, width) of it."""

    condition: str
    size: int
    latent: tuple[int, int, int]


@dataclass(frozen=True)
class Example:
    """One visit to a sample.

    picture: float32 (3, S, S) in -1..1. condition: float32 (C, S, S) in 0..1. time: in [0, 1), which the schedule
    maps to a time step. posterior, noise: standard normal, float32, of the latent's shape.
    """

    picture: torch.Tensor
    condition: torch.Tensor
    caption: str
    time: float
    posterior: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """N examples, each tensor with N in front; times is float64 (N,)."""

    pictures: torch.Tensor
    conditions: torch.Tensor
    captions: list[str]
    times: torch.Tensor
    posteriors: torch.Tensor
    noises: torch.Tensor


def make_generator(seed: int, visit: str, key: str) -> torch.Generator:
    """The randomness of one visit to one sample, the same whatever came before it and wherever it runs."""
    digest = hashlib.sha256(f"{seed}/{visit}/{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def make_example(sample: Sample, framing: Framing, seed: int, visit: str) -> Example:
    """Crop picture and condition together, choose a caption, draw time step and noise.

    visit: the epoch, or "validation". Raises RequestError for a picture that is smaller than the crop.
    """
    generator = make_generator(seed, visit, sample.key)
    picture = decode_rgb(sample.members["jpg"])
    height, width = picture.shape[:2]
    size = framing.size
    if min(height, width) < size:
        raise RequestError(f"--size {size} must not exceed any picture, and {sample.key} is {width}x{height}")
    top, left = _draw_below(height - size + 1, generator), _draw_below(width - size + 1, generator)
    window = slice(top, top + size), slice(left, left + size)
    captions = json.loads(bytes(sample.members["json"]))["captions"]
    caption = captions[_draw_below(len(captions), generator)]
    return Example(
        picture=to_tensor(picture[window]) * 2 - 1,
        condition=condition_tensor(sample, framing.condition, picture, window),
        caption=caption,
        time=torch.rand((), generator=generator, dtype=torch.float64).item(),
        posterior=torch.randn(framing.latent, generator=generator),
        noise=torch.randn(framing.latent, generator=generator),
    )


def condition_tensor(
    sample: Sample, condition: str, picture: np.ndarray, window: tuple[slice, slice]
) -> torch.Tensor:
    """What the adapter is given for the window of the picture, float32 (C, S, S) in 0..1."""
    if condition == "color":
        # The published adapter saw the colours of the crop, whose cells are not those of the whole picture.
        crop = np.ascontiguousarray(picture[window])
        extractor = make_extractor("color")
        drawing = extractor.format.draw(extractor(crop[None])[0], *crop.shape[:2])
    else:
        format = format_of(condition)
        members = {name: bytes(sample.members[name]) for name in format.members}
        drawing = format.draw(format.decode(members), *picture.shape[:2])[window]
    if condition == "sketch":
        return (to_tensor(drawing) > 0.5).float()
    return to_tensor(drawing)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, C) -> float32 (C, H, W) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255


def stack_examples(examples: Sequence[Example], device: torch.device) -> Batch:
    return Batch(
        pictures=torch.stack([e.picture for e in examples]).to(device),
        conditions=torch.stack([e.condition for e in examples]).to(device),
        captions=[e.caption for e in examples],
        times=torch.tensor([e.time for e in examples], dtype=torch.float64),
        posteriors=torch.stack([e.posterior for e in examples]).to(device),
        noises=torch.stack([e.noise for e in examples]).to(device),
    )


def _draw_below(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))
