"""Pictures and files of pictures for tests."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.bombs import make_png


def gradient(height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 (height, width, 3): no two of its rotations and mirror images are alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + 2 * y) % 256], axis=2).astype(np.uint8)


def save(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, kind, **options)
    return file.getvalue()


def png16(channels: int, values: np.ndarray) -> bytes:
    """A 16-bit PNG, which Pillow writes only in grey. values: uint16 (H, W, channels)."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return make_png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], zlib.compress(rows))


def smooth(height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): structure at every scale, as photographs have it."""
    random = np.random.default_rng(5)
    total = np.zeros((height, width, 3))
    for scale in (4, 16, 64, 256):
        rough = Image.fromarray(random.integers(0, 256, (scale, scale, 3), dtype=np.uint8))
        total += np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC), float) / scale**0.5
    total -= total.min()
    return (total * 255 / total.max()).astype(np.uint8)


def mean_reference(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 (height, width, 3): each pixel the exact mean of the area that it covers."""

    def weights(into: int, out: int) -> np.ndarray:
        edges = np.arange(out + 1) * into / out
        pixels = np.arange(into)
        return (
            np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, None)
            * out
            / into
        )

    rows, columns = weights(picture.shape[0], height), weights(picture.shape[1], width)
    return np.einsum("yh,hwc,xw->yxc", rows, picture.astype(float), columns, optimize=True)


# What EXIF says of the stored picture, and what puts it upright (EXIF 2.3, section 4.6.4, tag 0x0112).
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}
