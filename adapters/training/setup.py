"""Building a training from its configuration: the stream, the base, and how a batch becomes a loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from t2i_shards.adapters.base import Base, load_base
from t2i_shards.adapters.base.load import DTYPES
from t2i_shards.adapters.base.text_cache import TextCache
from t2i_shards.adapters.training.config import BaseConfig, ExtractorConfig, TextCacheConfig, VisitConfig
from t2i_shards.adapters.training.data import DataConfig
from t2i_shards.adapters.training.example import LATENTS, CropConfig, read_latent
from t2i_shards.adapters.training.loader import shapes_of
from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE
from t2i_shards.extractors.networks.vae import digest_encoder
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.provenance import choose_variant
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.extract import load_extractor
from t2i_shards.pipeline.shards.receipt import digest_json
from t2i_shards.pipeline.shards.sample import Sample

log = logging.getLogger(__name__)


def open_base(config: BaseConfig, device: torch.device) -> Base:
    """The base in the asked precision, with what saves time or memory turned on."""
    base = load_base(config.name, str(device), DTYPES[config.precision])
    if config.gradient_checkpointing:
        base.denoiser.enable_gradient_checkpointing()  # type: ignore[operator]  # diffusers' models have it
    if config.compile:
        base.denoiser.compile()
    return base


def check_latents(data: DataConfig, base: Base, name: str) -> None:
    """RequestError unless the column of every dataset was made by the own autoencoder of --base `name`."""
    if data.latents is None:
        return
    own = digest_encoder(base.networks["vae"].state_dict())
    for root in data.roots:
        recipe = Dataset.open(root).recipe(data.latents) or {}
        if recipe.get("extractor") != "latents":
            raise RequestError(
                f"--latents must name a column of latents, and {data.latents} of {root} "
                f"{'is none' if recipe else 'does not exist'}"
            )
        found = recipe["parameters"]["vae"]
        if found != own:
            raise RequestError(
                f"--latents {data.latents} of {root} was made by another autoencoder "
                f"({recipe['variant']}, {found[:12]}…) than that of --base {name} ({own[:12]}…)"
            )


def make_crop_config(
    data: DataConfig, visits: VisitConfig, base: Base, held_out: Sequence[Sample], short_side: int | None = None
) -> CropConfig:
    """How samples are cropped. Logs what is cut off pictures of odd sizes.

    short_side: of the smallest pictures there are, where it is known; those held out may be larger.
    Raises RequestError when the column does not hold what the condition needs.
    """
    channels, side, _ = base.latent_shape(SIZE_MULTIPLE)
    _check_members(data, held_out[0])
    return CropConfig(
        condition=data.condition,
        size=_crop_side(data, held_out, SIZE_MULTIPLE // side, short_side),
        channels=channels,
        cell=SIZE_MULTIPLE // side,
        flip=visits.flip,
        empty_captions=visits.empty_captions,
        threshold="fixed" if visits.threshold == "fixed" else "batch",
        latents=data.latents is not None,
        live=data.live,
        noise_offset=visits.noise_offset,
        noise_offset_levels=visits.noise_offset_levels,
    )


def _check_members(data: DataConfig, sample: Sample) -> None:
    needed: dict[str, tuple[str, ...]] = {data.latents: (LATENTS,)} if data.latents is not None else {}
    if not format_of(data.condition).from_crop and not data.live:
        needed[data.column or data.condition] = format_of(data.condition).members
    for column, members in needed.items():
        for member in members:
            if member not in sample.members:
                flag, wanted = (
                    ("--latents", "a latent")
                    if column == data.latents
                    else ("--column", f"what --condition {data.condition} needs")
                )
                raise RequestError(f"{flag} {column} must hold {wanted}, and {sample.key} has no {member}")


def _crop_side(data: DataConfig, held_out: Sequence[Sample], cell: int, short_side: int | None) -> int:
    if data.latents is not None or short_side is None:
        return data.size or _shortest_side(data, held_out, cell)
    if data.size and data.size > short_side:
        raise RequestError(
            f"--size {data.size} must not exceed any picture, and there are some of {short_side} pixels a side"
        )
    return data.size or min(short_side, _shortest_side(data, held_out, cell))


def _shortest_side(data: DataConfig, samples: Sequence[Sample], cell: int) -> int:
    if data.latents is not None:
        return int(read_latent(samples[0]).shape[-1]) * cell
    shapes = shapes_of(samples)
    size = min(min(shape) for shape in shapes) // SIZE_MULTIPLE * SIZE_MULTIPLE
    if not size:
        raise RequestError(
            f"pictures must have at least {SIZE_MULTIPLE} pixels a side, and one has {min(map(min, shapes))}"
        )
    odd = next((shape for shape in shapes if shape[0] % SIZE_MULTIPLE or shape[1] % SIZE_MULTIPLE), None)
    if odd:
        log.warning(
            "pictures such as %dx%d are no multiples of %d: crops are %d pixels a side", *odd, SIZE_MULTIPLE, size
        )
    return size


@dataclass(frozen=True)
class LiveCondition:
    """The control image of a crop, computed while training. recipe: digest of what decides it."""

    extractor: Extractor
    recipe: str

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 (N, 3, H, W) -> uint8 (N, C, H, W)."""
        maps = self.extractor(np.ascontiguousarray(pictures.permute(0, 2, 3, 1).cpu().numpy()))
        images = np.stack(
            [self.extractor.format.render(condition_map, *pictures.shape[2:]) for condition_map in maps]
        )
        # With the strides of a new tensor: those of a transposed one make torch add in another order.
        return torch.from_numpy(images).permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)


def load_live(data: DataConfig, extractor: ExtractorConfig, device: torch.device) -> LiveCondition | None:
    """What computes the condition of crops; None where a column holds it."""
    if not data.live:
        return None
    loaded = open_extractor(data, extractor, device)
    return LiveCondition(loaded, digest_json(loaded.recipe()))


def open_extractor(data: DataConfig, config: ExtractorConfig, device: torch.device) -> Extractor:
    """What computes the condition: of the variant that is asked for, else the one of the first dataset's column.

    Raises RequestError when it is not available.
    """
    condition = data.condition
    column = None if data.live else data.column or condition
    variant = config.variant or choose_variant(condition, data.roots[0], column)
    return load_extractor(condition, variant, config.weights, device.type)


def open_texts(config: TextCacheConfig, base: Base) -> TextCache | None:
    """The cache of what the text encoders make of captions, if one is asked for."""
    if config.text_cache is None:
        return None
    return TextCache(base, config.text_cache, int(config.text_cache_gb * 1e9))
