"""What is trained on: which datasets, which of their columns, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from t2i_shards.adapters.options import Roots, check_above, check_at_least, check_condition
from t2i_shards.extractors.atomic import cache_folder
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE, fixed_side
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Common
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.stream import Extent, divide_batch, mix_streams, open_stream
from t2i_shards.pipeline.stream.lanes import ONE_LANE

if TYPE_CHECKING:
    from t2i_shards.adapters.training.loader import SampleStream


@dataclass(frozen=True)
class DataConfig:
    """The samples."""

    roots: Roots
    """The dataset, or several that are mixed."""
    condition: Common[str]
    """What the adapter is to follow, such as sketch, depth or color."""
    column: str | None = None
    """The condition's column, where its name is not the condition's."""
    mix: tuple[float, ...] = ()
    """Share of the samples that each dataset gives; by their sizes when not given."""
    duplicates: Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: they are used)")] = True
    """Leave out pictures that are duplicates of earlier ones."""
    size: Common[Annotated[int | None, tyro.conf.arg(aliases=["--resolution"])]] = None
    """Side of the square crop in pixels, a multiple of 64; the pictures' shortest side when not given."""
    buckets: bool = False
    """Whole pictures, each batch of one size, instead of square crops."""
    latents: str | None = None
    """A column of latents, which are then read instead of the pictures."""
    live: bool = False
    """Compute the condition while training, from the crop, instead of reading it from a column."""
    lanes: int | None = None
    """Lanes of the order, each with its own shards: 4, 2 or 1 times a divisor of the batch. A shard is read once
    if the loaders divide 4 and the workers divide a quarter of the lanes. Default 8, fewer for small datasets."""
    skip_damaged: int = 0
    """Damaged or vanished shards that are left out with a warning before the training stops."""
    cache: Path | None = None
    """Where shards of a store far away are kept; a folder of the user's cache when not given."""
    cache_gb: float = 50.0
    """How much of them is kept, in 10^9 bytes."""

    def __post_init__(self) -> None:
        check_above(self, 0, "cache_gb")
        check_at_least(self, 0, "skip_damaged")
        check_at_least(self, 1, "lanes")
        if self.size is not None and (self.size <= 0 or self.size % SIZE_MULTIPLE):
            raise RequestError(f"--size must be a positive multiple of {SIZE_MULTIPLE}, not {self.size}")
        if not self.roots:
            raise RequestError("train needs a dataset, and none was given")
        if self.mix and len(self.mix) != len(self.roots):
            raise RequestError(
                f"--mix must give a share for each of {number_of(len(self.roots), 'dataset')}, not {len(self.mix)}"
            )
        if any(share <= 0 for share in self.mix):
            raise RequestError(f"--mix must give shares above 0, not {' '.join(map(str, self.mix))}")
        check_condition(self.condition)
        if self.column is not None and format_of(self.condition).from_crop:
            raise RequestError(
                f"--condition {self.condition} takes no --column, not {self.column}: it is made from the crops"
            )
        if self.live and format_of(self.condition).from_crop:
            raise RequestError(f"--condition {self.condition} takes no --live: it is always made from the crops")
        if self.live and self.column is not None:
            raise RequestError(f"--live makes the condition itself, so it takes no --column, not {self.column}")
        for other in ("size", "buckets", "live"):
            if self.latents is not None and getattr(self, other):
                raise RequestError(f"--latents are of a fixed crop, so --{other} cannot be asked for as well")
        if self.buckets and self.size is not None:
            raise RequestError("--buckets takes whole pictures, so --size cannot be asked for as well")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read in addition to images."""
        made = format_of(self.condition).from_crop or self.live
        condition = () if made else (self.column or self.condition,)
        return condition if self.latents is None else (*condition, self.latents)


def open_samples(
    data: DataConfig, seed: int, batch: int, extents: Sequence[Extent | None] | None = None, lanes: int = 1
) -> SampleStream:
    """The stream of all datasets, in the order of the seed and in so many lanes.

    batch: samples of a step. extents: of each dataset, where an older order is continued. Raises RequestError for
    datasets that do not go together.
    """
    streams = [
        open_stream(
            root,
            data.columns,
            seed,
            data.duplicates,
            skip_damaged=data.skip_damaged,
            cache=data.cache or cache_folder() / "shards",
            cache_bytes=int(data.cache_gb * 1e9),
            buckets=batch if data.buckets else None,
            extent=extent,
            lanes=divide_batch(batch, lanes) or ONE_LANE,
        )
        for root, extent in zip(data.roots, extents or [None] * len(data.roots), strict=True)
    ]
    if data.latents is not None:
        _check_latent_sizes(data, [stream.short_side for stream in streams])
    if len(streams) == 1:
        return streams[0]
    return mix_streams(streams, data.mix or tuple(map(len, streams)), seed)


def _check_latent_sizes(data: DataConfig, short_sides: Sequence[int | None]) -> None:
    """RequestError where datasets have latents of crops of different sizes, of which no batch can be made.

    short_sides: of each dataset's pictures, in pixels; None where it is not known.
    """
    found = {side and fixed_side(side, side): root for root, side in zip(data.roots, short_sides, strict=True)}
    found.pop(None, None)
    if len(found) > 1:
        them = ", ".join(f"those of {root} of {side}" for side, root in sorted(found.items()))
        raise RequestError(
            f"--latents of several datasets must be of crops of one size in pixels, and {them}; without --latents "
            "pictures are cut to the smallest"
        )
