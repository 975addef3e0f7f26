"""Building a training from its configuration: the stream, the base, and how a batch becomes a loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from adapters.base import Base, load_base
from adapters.base.load import DTYPES
from adapters.base.text_cache import TextCache
from adapters.training.config import TrainConfig
from adapters.training.example import LATENTS, CropConfig, read_latent
from adapters.training.loader import SampleStream, shapes_of
from extractors.atomic import cache_folder
from extractors.base import Extractor
from extractors.maps.crop import SIZE_MULTIPLE, fixed_side
from extractors.networks.vae import digest_encoder
from extractors.registry import UnknownCondition, format_of, make_extractor
from extractors.weights.file import WeightsDamaged, WeightsUnavailable
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RequestError
from pipeline.shards.receipt import digest_json
from pipeline.shards.sample import Sample
from pipeline.stream import Extent, divide_batch, mix_streams, open_stream
from pipeline.stream.lanes import ONE_LANE

log = logging.getLogger(__name__)


def open_samples(
    config: TrainConfig, extents: Sequence[Extent | None] | None = None, lanes: int = 1
) -> SampleStream:
    """The stream of all datasets, in the order of the seed and in so many lanes.

    extents: of each dataset, where an older order is continued.
    """
    streams = [
        open_stream(
            root,
            config.columns,
            config.seed,
            config.duplicates,
            skip_damaged=config.skip_damaged,
            cache=config.cache or cache_folder() / "shards",
            cache_bytes=int(config.cache_gb * 1e9),
            buckets=config.batch if config.buckets else None,
            extent=extent,
            lanes=divide_batch(config.batch, lanes) or ONE_LANE,
        )
        for root, extent in zip(config.roots, extents or [None] * len(config.roots), strict=True)
    ]
    if config.latents is not None:
        check_latent_sizes(config, [stream.short_side for stream in streams])
    if len(streams) == 1:
        return streams[0]
    return mix_streams(streams, config.mix or tuple(map(len, streams)), config.seed)


def open_base(config: TrainConfig, device: torch.device) -> Base:
    """The base in the asked precision, with what saves time or memory turned on.

    Raises RequestError when --latents were made by another autoencoder than the base's.
    """
    base = load_base(config.base, str(device), DTYPES[config.precision])
    check_latents(config, base)
    if config.gradient_checkpointing:
        base.denoiser.enable_gradient_checkpointing()  # type: ignore[operator]  # diffusers' models have it
    if config.compile:
        base.denoiser.compile()
    return base


def check_latent_sizes(config: TrainConfig, short_sides: Sequence[int | None]) -> None:
    """RequestError where datasets have latents of crops of different sizes, of which no batch can be made.

    short_sides: of each dataset's pictures, in pixels; None where it is not known.
    """
    found = {side and fixed_side(side, side): root for root, side in zip(config.roots, short_sides, strict=True)}
    found.pop(None, None)
    if len(found) > 1:
        told = ", ".join(f"those of {root} of {side}" for side, root in sorted(found.items()))
        raise RequestError(
            f"--latents of several datasets must be of crops of one size in pixels, and {told}; without --latents "
            "pictures are cut to the smallest"
        )


def check_latents(config: TrainConfig, base: Base) -> None:
    """RequestError unless the column of every dataset was made by the base's own autoencoder."""
    if config.latents is None:
        return
    own = digest_encoder(base.networks["vae"].state_dict())
    for root in config.roots:
        recipe = Dataset.open(root).recipe(config.latents) or {}
        if recipe.get("extractor") != "latents":
            raise RequestError(
                f"--latents must name a column of latents, and {config.latents} of {root} "
                f"{'is none' if recipe else 'does not exist'}"
            )
        found = recipe["parameters"]["vae"]
        if found != own:
            raise RequestError(
                f"--latents {config.latents} of {root} was made by another autoencoder "
                f"({recipe['variant']}, {found[:12]}…) than that of --base {config.base} ({own[:12]}…)"
            )


def make_crop_config(
    config: TrainConfig, base: Base, held_out: Sequence[Sample], short_side: int | None = None
) -> CropConfig:
    """How samples are cropped. Says in a line what of odd sizes is cut away.

    short_side: of the smallest pictures there are, where it is known; those held out may be larger.
    Raises RequestError when the column does not hold what the condition needs.
    """
    channels, side, _ = base.latent_shape(SIZE_MULTIPLE)
    _check_members(config, held_out[0])
    return CropConfig(
        condition=config.condition,
        size=_crop_side(config, held_out, SIZE_MULTIPLE // side, short_side),
        channels=channels,
        cell=SIZE_MULTIPLE // side,
        flip=config.flip,
        empty_captions=config.empty_captions,
        threshold="fixed" if config.threshold == "fixed" else "batch",
        latents=config.latents is not None,
        live=config.live,
    )


def _check_members(config: TrainConfig, sample: Sample) -> None:
    needed: dict[str, tuple[str, ...]] = {config.latents: (LATENTS,)} if config.latents is not None else {}
    if not format_of(config.condition).from_crop and not config.live:
        needed[config.column or config.condition] = format_of(config.condition).members
    for column, members in needed.items():
        for member in members:
            if member not in sample.members:
                flag, wanted = (
                    ("--latents", "a latent")
                    if column == config.latents
                    else ("--column", f"what --condition {config.condition} needs")
                )
                raise RequestError(f"{flag} {column} must hold {wanted}, and {sample.key} has no {member}")


def _crop_side(config: TrainConfig, held_out: Sequence[Sample], cell: int, short_side: int | None) -> int:
    if config.latents is not None or short_side is None:
        return config.size or _shortest_side(config, held_out, cell)
    if config.size and config.size > short_side:
        raise RequestError(
            f"--size {config.size} must not exceed any picture, and there are some of {short_side} pixels a side"
        )
    return config.size or min(short_side, _shortest_side(config, held_out, cell))


def _shortest_side(config: TrainConfig, samples: Sequence[Sample], cell: int) -> int:
    if config.latents is not None:
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


def load_live(config: TrainConfig, device: torch.device) -> LiveCondition | None:
    """What computes the condition of crops; None where a column holds it."""
    if not config.live:
        return None
    extractor = load_extractor(config.condition, config, device)
    return LiveCondition(extractor, digest_json(extractor.recipe()))


def load_extractor(condition: str, config: TrainConfig, device: torch.device) -> Extractor:
    """The condition's extractor of the asked variant, ready. RequestError when it is not available."""
    try:
        extractor = make_extractor(condition, config.variant, config.weights)
        extractor.recipe()
        extractor.load(device.type)
    except (UnknownCondition, WeightsUnavailable, WeightsDamaged) as error:
        raise RequestError(f"--variant {config.variant}: {error}") from None
    return extractor


def open_texts(config: TrainConfig, base: Base) -> TextCache | None:
    """The cache of what the text encoders make of captions, if one is asked for."""
    if config.text_cache is None:
        return None
    return TextCache(base, config.text_cache, int(config.text_cache_gb * 1e9))
