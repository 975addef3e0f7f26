"""Perceptual hashes: pictures that look the same differ in few bits, whatever their size and encoding.

A picture is shrunk as soon as it is decoded, and hashed together with others of its shard: hashed one at a time,
between two decodings, it would take five times as long, because decoding evicts the processor's caches.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.fftpack import dct

from t2i_shards.pipeline.image.stored import Picture

SIDES = {"phash": 8, "phash256": 16}
"""Column of rows.parquet -> frequencies along each side; the square of it is the number of bits."""
PIXELS_PER_FREQUENCY = 4
BATCH = 256
"""Pictures whose frequencies are held at once: 8 MiB."""


def shrink_grey(picture: Picture) -> dict[str, np.ndarray]:
    """Column -> uint8 (4 * side, 4 * side) grey, for `hash_greys`. picture: uint8 (H, W, 3) RGB."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    sides = {name: PIXELS_PER_FREQUENCY * side for name, side in SIDES.items()}
    return {name: cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA) for name, side in sides.items()}


def hash_greys(small: Sequence[dict[str, np.ndarray]]) -> list[dict[str, str]]:
    """The hashes of pictures shrunk by `shrink_grey`: `phash` as 16 hex digits, `phash256` as 64.

    A bit is set where one of the lowest 64 (256) frequencies is above their median, as in imagehash's phash.
    """
    hashes: list[dict[str, str]] = []
    for start in range(0, len(small), BATCH):
        batch = small[start : start + BATCH]
        columns = [_hash(np.stack([greys[name] for greys in batch]), side) for name, side in SIDES.items()]
        hashes += [dict(zip(SIDES, texts, strict=True)) for texts in zip(*columns, strict=True)]
    return hashes


def _hash(greys: np.ndarray, side: int) -> list[str]:
    """greys: uint8 (pictures, 4 * side, 4 * side)."""
    frequencies = dct(dct(greys, axis=1)[:, :side], axis=2)[..., :side].reshape(len(greys), -1)
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return [packed.tobytes().hex() for packed in np.packbits(bits, axis=1)]
