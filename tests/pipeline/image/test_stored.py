"""The stored picture: the same pixels give the same bytes."""

from __future__ import annotations

import numpy as np
import pytest

from t2i_shards.pipeline.image.stored import decode_rgb, encode_jpeg
from tests.pipeline.image.pictures import gradient


def test_the_stored_picture() -> None:
    data = encode_jpeg(gradient(), 95)
    assert data == encode_jpeg(gradient().copy(), 95)
    assert np.abs(decode_rgb(data).astype(int) - gradient()).mean() < 3
    # Red stays red: OpenCV's order is blue first.
    assert decode_rgb(encode_jpeg(np.full((64, 64, 3), (250, 5, 5), np.uint8), 95))[0, 0, 0] > 200
    with pytest.raises(ValueError, match="not a JPEG"):
        decode_rgb(b"no picture")
