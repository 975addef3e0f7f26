"""A sample's members as tensors: picture and control images cropped and mirrored together, and one caption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from t2i_shards.adapters.inference.control_images import extract_from_crop
from t2i_shards.adapters.records import names_sample
from t2i_shards.adapters.training.example import (
    VisitRandoms,
    choose_caption,
    choose_window,
    make_generator,
    read_map,
    to_tensor,
)
from t2i_shards.extractors.registry import conditions, format_of
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.sample import Sample

CONTROL_IMAGE = "control_image"


@dataclass(frozen=True)
class DecodeConfig:
    """How samples are decoded; see `ShardDataset`. Raises RequestError for what is no condition."""

    names: tuple[str, ...]
    condition: str | None
    size: int | None
    flip: bool
    seed: int
    wanted: Mapping[str, str] = field(init=False)
    """What a control image is called -> its condition."""

    def __post_init__(self) -> None:
        wanted = {name: name for name in self.names}
        if self.condition is not None:
            wanted[CONTROL_IMAGE] = self.condition
        for condition in wanted.values():
            if condition not in conditions():
                raise RequestError(
                    f"columns and condition must be of {', '.join(conditions())}, not {condition}; decode=False "
                    "gives the bytes of any column"
                )
        object.__setattr__(self, "wanted", wanted)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read besides the pictures: all but what is made from the crop."""
        return tuple(dict.fromkeys(c for c in self.wanted.values() if not format_of(c).from_crop))


@names_sample
def decode_sample(sample: Sample, config: DecodeConfig, epoch: int) -> dict[str, Any]:
    """A dict as `ShardDataset` gives it. Raises DamagedShard, which names the sample, for what cannot be read."""
    generator = make_generator(config.seed, str(epoch), sample.key)
    randoms = VisitRandoms(*torch.rand(7, generator=generator, dtype=torch.float64).tolist())
    picture = decode_rgb(sample.members["jpg"])
    mirrored = config.flip and randoms.mirror < 0.5
    height, width = picture.shape[:2]
    window = slice(0, height), slice(0, width)
    if config.size is not None:
        window = choose_window(height, width, config.size, randoms, sample.key)
    crop = np.ascontiguousarray((picture[:, ::-1] if mirrored else picture)[window])
    decoded = {"key": sample.key, "caption": choose_caption(sample, randoms.caption), "image": to_tensor(crop)}
    for name, condition in config.wanted.items():
        form = format_of(condition)
        if form.from_crop:
            control_image = form.render(extract_from_crop(condition, crop), *crop.shape[:2])
        else:
            whole = read_map(sample, condition, mirrored)
            control_image = form.render_window(whole, height, width, window)
        decoded[name] = to_tensor(control_image)
    return decoded
