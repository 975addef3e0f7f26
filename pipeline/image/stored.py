"""The pictures of a shard: how they are written, and read again."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from t2i_shards.extractors import budget

Picture = np.ndarray  # uint8 (H, W, 3), RGB


def use_threads(count: float) -> None:
    """Let OpenCV use this many threads in this process: workers that share a machine must not each take all."""
    cv2.setNumThreads(max(1, int(count)))


def encode_jpeg(picture: Picture, quality: int, chroma: Literal["444", "420"] = "420") -> bytes:
    """The stored form of a picture. The same pixels give the same bytes.

    chroma: 444 keeps the colours of every pixel, 420 one of each four.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if chroma == "444":
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise ValueError(f"cannot encode a picture of shape {picture.shape} as JPEG")
    return bytes(data)


def decode_rgb(data: bytes | memoryview) -> Picture:
    """Decode a picture of a verified shard. Raises ValueError when it is none, or one that no shard holds."""
    budget.stored_size(data, "JPEG")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise ValueError("not a JPEG")
    return picture
