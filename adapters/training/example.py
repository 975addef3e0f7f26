"""One visit to one sample. All that is random in it comes from (seed, epoch, key), whatever is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import interpolate

from t2i_shards.adapters.inference.control_images import extract_from_crop
from t2i_shards.adapters.records import names_sample
from t2i_shards.extractors.format import Map
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE, Window, fixed_crop
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import read_info

EDGE = 0.5
"""From where on a soft sketch is an edge (the published SD 1.x adapter); SDXL's was trained on EDGES at random."""
EDGES = (0.3, 0.8)
Threshold = Literal["fixed", "batch", "visit"]
"""EDGE, one of EDGES for each batch (`draw_edge`), or one for each visit, as all runs once did."""
(LATENTS,) = format_of("latents").members


@dataclass(frozen=True)
class CropConfig:
    """What of a sample is used, and how.

    size: side of the square crop, pixels; whole pictures, cut to multiples of 64, when None. channels, cell: of
    the base's latents, and pixels per side of one. flip, empty_captions, noise_offset, noise_offset_levels: as in
    TrainConfig. latents: read the latent of the fixed crop instead of the picture. live: leave the condition to
    be computed from the crop.
    """

    condition: str
    size: int | None
    channels: int = 4
    cell: int = 8
    flip: bool = False
    empty_captions: float = 0.0
    threshold: Threshold = "fixed"
    latents: bool = False
    live: bool = False
    noise_offset: float | None = None
    noise_offset_levels: int = 1


@dataclass(frozen=True)
class Example:
    """One visit to a sample.

    picture: uint8 (3, H, W) RGB, or None with latents. latent: float32 (2, C, h, w), mean and standard deviation
    before scaling, or None. control_image: uint8 (C, H, W), what the adapter sees before /255 and threshold, or
    None when it is computed from the picture. edge: threshold of a sketch. u: in [0, 1), which the schedule maps
    to a timestep. vae_noise, noise: standard normal, float32 (C, h, w), for the latent and for its timestep; each
    channel of the latter has an offset where one is asked for.
    """

    picture: torch.Tensor | None
    latent: torch.Tensor | None
    control_image: torch.Tensor | None
    edge: float
    caption: str
    u: float
    vae_noise: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True)
class VisitRandoms:
    """The random numbers of a visit, each in [0, 1): all are always drawn, so that options do not shift them."""

    top: float
    left: float
    caption: float
    empty: float
    mirror: float
    edge: float
    u: float


def make_generator(seed: int, visit: str, key: str) -> torch.Generator:
    """The randomness of one visit to one sample, the same whatever came before it and wherever it runs."""
    digest = hashlib.sha256(f"{seed}/{visit}/{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draw_edge(seed: int, step: int) -> float:
    """The threshold of a step's whole batch: one of EDGES, rounded to a tenth, as TencentARC's train_sketch.py."""
    low, high = EDGES
    drawn = torch.rand((), generator=make_generator(seed, "threshold", str(step)), dtype=torch.float64).item()
    return round(low + drawn * (high - low), 1)


@names_sample
def make_example(sample: Sample, crop_config: CropConfig, seed: int, visit: str) -> Example:
    """Crop and mirror picture and condition together, choose a caption, draw timestep and noise.

    visit: the epoch, or "validation". Raises RequestError for a picture that is smaller than the crop,
    DamagedShard for members that cannot be read.
    """
    generator = make_generator(seed, visit, sample.key)
    randoms = VisitRandoms(*torch.rand(7, generator=generator, dtype=torch.float64).tolist())
    form = format_of(crop_config.condition)
    needs_picture = not crop_config.latents or form.from_crop
    picture = decode_rgb(sample.members["jpg"]) if needs_picture else None
    latent = read_latent(sample) if crop_config.latents else None
    mirrored = crop_config.flip and randoms.mirror < 0.5
    condition_map = (
        None if form.from_crop or crop_config.live else read_map(sample, crop_config.condition, mirrored)
    )
    height, width = form.size(condition_map) if picture is None else picture.shape[:2]
    if latent is None:
        window = choose_window(height, width, crop_config.size, randoms, sample.key)
    else:
        window = fixed_crop(height, width)
        check_latent(latent, window, crop_config, sample.key)
    crop = None
    if picture is not None:
        crop = np.ascontiguousarray((picture[:, ::-1] if mirrored else picture)[window])
    control_image = None
    if form.from_crop:
        assert crop is not None
        control_image = form.render(extract_from_crop(crop_config.condition, crop), *crop.shape[:2])
    elif condition_map is not None:
        control_image = form.render_window(condition_map, height, width, window)
    shape = crop_config.channels, *((part.stop - part.start) // crop_config.cell for part in window)
    return Example(
        picture=None if latent is not None else to_tensor(crop),  # type: ignore[arg-type]
        latent=latent,
        control_image=None if control_image is None else to_tensor(control_image),
        edge=EDGES[0] + randoms.edge * (EDGES[1] - EDGES[0]) if crop_config.threshold == "visit" else EDGE,
        caption="" if randoms.empty < crop_config.empty_captions else choose_caption(sample, randoms.caption),
        u=randoms.u,
        vae_noise=torch.randn(shape, generator=generator),
        noise=draw_noise(shape, crop_config.noise_offset, crop_config.noise_offset_levels, generator),
    )


def draw_noise(
    shape: tuple[int, int, int], offset: float | None, levels: int, generator: torch.Generator
) -> torch.Tensor:
    """float32 (C, h, w), standard normal; with an offset, as `--noise_offset` of diffusers' scripts adds it.

    levels: 2 adds one to each quarter as well, 3 to each sixteenth, as in multi-resolution noise.
    """
    noise = torch.randn(shape, generator=generator)
    if offset is None:
        return noise
    for level in range(levels):
        shifts = torch.randn(1, shape[0], 2**level, 2**level, generator=generator)
        noise += offset * interpolate(shifts, shape[1:])[0]
    return noise


def choose_window(height: int, width: int, size: int | None, randoms: VisitRandoms, key: str) -> Window:
    """A square of `size` at a drawn place, or the middle of the picture cut to multiples of 64."""
    if size is None:
        rows, columns = height // SIZE_MULTIPLE * SIZE_MULTIPLE, width // SIZE_MULTIPLE * SIZE_MULTIPLE
        top, left = (height - rows) // 2, (width - columns) // 2
        return slice(top, top + rows), slice(left, left + columns)
    if min(height, width) < size:
        raise RequestError(f"--size {size} must not exceed any picture, and {key} is {width}x{height}")
    top, left = int(randoms.top * (height - size + 1)), int(randoms.left * (width - size + 1))
    return slice(top, top + size), slice(left, left + size)


def check_latent(latent: torch.Tensor, window: Window, crop_config: CropConfig, key: str) -> None:
    """RequestError unless the latent is of this window, and of the one size that a batch has."""
    rows, columns = ((part.stop - part.start) // crop_config.cell for part in window)
    size = crop_config.size or rows * crop_config.cell
    if tuple(latent.shape[1:]) != (crop_config.channels, rows, columns) or rows * crop_config.cell != size:
        raise RequestError(
            f"--latents must be {crop_config.channels} channels of crops of {size} pixels, as the first sample's, "
            f"and {key} has {tuple(latent.shape[1:])} of one of {rows * crop_config.cell}"
        )


def read_map(sample: Sample, condition: str, mirrored: bool = False) -> Map:
    """The whole picture's map, from the column's members."""
    form = format_of(condition)
    condition_map = form.decode({name: bytes(sample.members[name]) for name in form.members})
    return form.mirror(condition_map) if mirrored else condition_map


def choose_caption(sample: Sample, u: float) -> str:
    captions = read_info(sample).captions
    return captions[int(u * len(captions))]


@names_sample
def read_latent(sample: Sample) -> torch.Tensor:
    """float32 (2, C, h, w): mean and standard deviation, of mean and logarithm of the variance in float16."""
    mean, logvar = format_of("latents").decode({LATENTS: bytes(sample.members[LATENTS])}).astype(np.float32)
    return torch.from_numpy(np.stack([mean, np.exp(0.5 * logvar)]))


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, C) -> uint8 (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
