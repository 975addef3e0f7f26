"""A sample as `evaluate` needs it: the middle of its picture, the map of just that, and what the adapter sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from t2i_shards.adapters.inference.control_images import extract_from_crop, to_seen
from t2i_shards.adapters.records import names_sample
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import read_info


@dataclass(frozen=True)
class EvalExample:
    """picture: uint8 (S, S, 3). map: as extractors make them, of this crop. control_image: uint8 (S, S, C).

    caption: the first one.
    """

    key: str
    picture: np.ndarray
    map: Any
    control_image: np.ndarray
    caption: str


@names_sample
def crop_middle(sample: Sample, condition: str, size: int) -> EvalExample:
    """The middle square of `size` pixels.

    Raises RequestError for a picture that is smaller, DamagedShard for members that cannot be read.
    """
    picture = decode_rgb(sample.members["jpg"])
    height, width = picture.shape[:2]
    if min(height, width) < size:
        raise RequestError(f"--size {size} must not exceed any picture, and {sample.key} is {width}x{height}")
    top, left = (height - size) // 2, (width - size) // 2
    window = slice(top, top + size), slice(left, left + size)
    crop = np.ascontiguousarray(picture[window])
    form = format_of(condition)
    if form.from_crop:
        condition_map = extract_from_crop(condition, crop)
        control_image = form.render(condition_map, size, size)
    else:
        whole = form.decode({name: bytes(sample.members[name]) for name in form.members})
        condition_map, control_image = form.crop(whole, window), form.render_window(whole, height, width, window)
    captions = read_info(sample).captions
    return EvalExample(sample.key, crop, condition_map, to_seen(control_image, form), captions[0])


def choose_wrong(examples: Sequence[EvalExample], condition: str) -> list[int]:
    """For each sample the place of the next one, cyclically, whose map shows something; else of the next one."""
    count, form = len(examples), format_of(condition)
    shows = [not form.is_blank(example.map) for example in examples]
    return [
        next(
            (after % count for after in range(place + 1, place + count) if shows[after % count]),
            (place + 1) % count,
        )
        for place in range(count)
    ]


def seed_of(seed: int, key: str) -> int:
    """The seed of a sample's noise, the same in every selection of samples."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") >> 1
