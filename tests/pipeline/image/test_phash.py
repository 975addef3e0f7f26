"""Perceptual hashes: those of imagehash, for any number of pictures at once."""

from __future__ import annotations

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.image import phash
from t2i_shards.pipeline.image.phash import hash_greys, shrink_grey
from tests.bench.photographs import photographs


def reference(picture: np.ndarray) -> dict[str, str]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = {side: cv2.resize(grey, (4 * side, 4 * side), interpolation=cv2.INTER_AREA) for side in (8, 16)}
    found = {side: str(imagehash.phash(Image.fromarray(image), hash_size=side)) for side, image in small.items()}
    return {"phash": found[8], "phash256": found[16]}


def test_they_are_those_of_imagehash_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    wide = np.ascontiguousarray(photographs(1, 512)[0][:320])
    plain = [np.full((64, 64, 3), grey, np.uint8) for grey in (0, 128, 255)]
    noise = [rng.integers(0, 256, (64, 128, 3), np.uint8) for _ in range(20)]
    pictures = [*photographs(8, 512), wide, *plain, *noise]
    monkeypatch.setattr(phash, "BATCH", 7)  # not a divisor of their number
    assert hash_greys([shrink_grey(picture) for picture in pictures]) == [
        reference(picture) for picture in pictures
    ]


def test_of_no_pictures_there_are_none() -> None:
    assert hash_greys([]) == []
