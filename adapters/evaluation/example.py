"""A sample as `evaluate` needs it: the middle of its picture, the map of just that, and what the adapter sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.errors import names_sample
from adapters.inference.control_images import LINES, extract_drawing, to_edges
from extractors.maps.formats import draw_window
from extractors.maps.people import MAX_DRAWN, People
from extractors.registry import format_of, make_extractor
from pipeline.errors import RequestError
from pipeline.image.stored import decode_rgb
from pipeline.shards.sample import Sample
from pipeline.shards.sample_info import read_info


@dataclass(frozen=True)
class Given:
    """picture: uint8 (S, S, 3). map: as extractors make them, of this crop. drawing: uint8 (S, S, C).

    caption: the first one.
    """

    key: str
    picture: np.ndarray
    map: Any
    drawing: np.ndarray
    caption: str


@names_sample
def frame_middle(sample: Sample, condition: str, size: int) -> Given:
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
    if condition == "color":  # made from the crop, whose cells are not those of the whole picture
        extractor = make_extractor("color")
        map, drawing = extractor(crop[None])[0], extract_drawing(extractor, crop)
    else:
        form = format_of(condition)
        whole = form.decode({name: bytes(sample.members[name]) for name in form.members})
        map, drawing = crop_map(whole, window), draw_window(form, whole, height, width, window)
    captions = read_info(sample).captions
    return Given(sample.key, crop, map, to_edges(drawing) if condition in LINES else drawing, captions[0])


def crop_map(map: Any, window: tuple[slice, slice]) -> Any:
    """What of the map is to be seen in the window: of people those drawn in it, and their keypoints inside it."""
    if not isinstance(map, People):
        return np.ascontiguousarray(map[window])
    height, width = (part.stop - part.start for part in window)
    points = map.within(window).keypoints[:MAX_DRAWN] - np.array([window[1].start, window[0].start, 0], np.float32)
    outside = ((points[..., :2] < 0) | (points[..., :2] >= (width, height))).any(axis=2)
    points[outside, 2] = 0
    return People(height, width, points)


def choose_wrong(givens: Sequence[Given]) -> list[int]:
    """For each sample the place of the next one whose map shows something, else of the next one; round the end."""
    count = len(givens)
    shows = [not isinstance(given.map, People) or len(given.map) > 0 for given in givens]
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
