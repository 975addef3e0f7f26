"""The pictures of a shard, decoded and grouped by size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.image import Picture, decode_rgb
from pipeline.sample import Sample


def batch_pictures(samples: Sequence[Sample], size: int) -> Iterator[tuple[list[str], np.ndarray | Exception]]:
    """(keys, uint8 (N, H, W, 3) RGB) of pictures of one size, at most `size` together.

    A picture that cannot be decoded comes alone, with the error in its place.
    """
    waiting: dict[tuple[int, ...], list[tuple[str, Picture]]] = defaultdict(list)
    for sample in samples:
        try:
            picture = decode_rgb(sample.members["jpg"])
        except Exception as error:  # one bad picture must not take the shard with it, whatever is wrong with it
            yield [sample.key], error
            continue
        group = waiting[picture.shape]
        group.append((sample.key, picture))
        if len(group) == size:
            yield _stack(waiting.pop(picture.shape))
    for group in waiting.values():
        yield _stack(group)


def _stack(group: list[tuple[str, Picture]]) -> tuple[list[str], np.ndarray]:
    return [key for key, _ in group], np.stack([picture for _, picture in group])
