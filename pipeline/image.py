"""Pictures: reading what strangers wrote, the geometry of a dataset, and the bytes that are stored."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from pipeline.errors import Drop, RequestError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 100_000_000
CELL = 64

DAMAGED = (OSError, ValueError, SyntaxError, LookupError, EOFError, TypeError, ArithmeticError, struct.error)
"""What Pillow raises on damaged files; the last three come seldom, and from EXIF and TIFF headers."""

Picture = np.ndarray  # uint8 (H, W, 3), RGB


@dataclass(frozen=True)
class Placement:
    """Where a picture came to lie: resized to `resized`, then cut to `crop`. Sizes are (width, height).

    A point (x, y) of the original lies at (x * resized[0] / original[0] - crop[0], likewise y).
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    crop: tuple[int, int, int, int]


@dataclass(frozen=True)
class Geometry:
    """What is done to every picture of a dataset."""

    size: int = 512
    """Length of the short side in pixels, a multiple of 64."""
    fit: Literal["aspect", "square"] = "aspect"
    """Keep the aspect (long side at most twice the short one), or crop to a square."""
    max_upscale: float = 2.0
    """A picture that would have to grow by more than this is dropped."""
    quality: int = 95
    """JPEG quality of the stored picture, 1 to 100."""

    def __post_init__(self) -> None:
        if self.size <= 0 or self.size % CELL:
            raise RequestError(f"--size must be a positive multiple of {CELL}, not {self.size}")
        if not 1 <= self.quality <= 100:
            raise RequestError(f"--quality must be 1 to 100, not {self.quality}")

    def place(self, width: int, height: int) -> Placement:
        """Both sides end as multiples of 64, cut from the centre. Raises Drop("too small")."""
        scale = self.size / min(width, height)
        if scale > self.max_upscale:
            raise Drop("too small")
        resized = (max(self.size, round(width * scale)), max(self.size, round(height * scale)))
        longest = self.size if self.fit == "square" else 2 * self.size
        crop_w, crop_h = (min(side, longest) // CELL * CELL for side in resized)
        crop = ((resized[0] - crop_w) // 2, (resized[1] - crop_h) // 2, crop_w, crop_h)
        return Placement((width, height), resized, crop)


def use_threads(count: float) -> None:
    """Let OpenCV use this many threads in this process: workers that share a machine must not each take all."""
    cv2.setNumThreads(max(1, int(count)))


def read_picture(data: bytes) -> Picture:
    """Decode bytes of unknown origin to RGB, upright by their EXIF orientation.

    Grey, palette, CMYK and 16-bit pictures become 8-bit RGB; what is transparent lies on white.
    Raises Drop: "not a picture", "too many pixels", "animated", "truncated", "unsupported mode".
    """
    with warnings.catch_warnings():
        # Pillow warns of pictures that are large and of some that are damaged; both are judged here.
        warnings.simplefilter("ignore")
        image = _open(data)
        try:
            # MPO is a JPEG with further views behind it, as telephones write it; the first is the photograph.
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise Drop("animated")
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
        except DAMAGED:
            raise Drop("truncated") from None


def _open(data: bytes) -> Image.Image:
    """The picture by its header, nothing of it decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Drop("too many pixels") from None
    except DAMAGED:
        raise Drop("not a picture") from None
    # Pillow's own limit refuses only what is twice as large.
    if image.width * image.height > MAX_PIXELS:
        raise Drop("too many pixels")
    return image


def _to_rgb(image: Image.Image) -> Picture:
    if image.mode.startswith("I;16"):
        # Pillow's convert clips 16-bit greys at 255.
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F", "LAB"):
        raise Drop("unsupported mode")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.ascontiguousarray(image.convert("RGB"))


def apply_placement(picture: Picture, placement: Placement) -> Picture:
    """The picture resized (area when it shrinks, bicubic when it grows) and cut."""
    height, width = picture.shape[:2]
    if (width, height) != placement.original:
        raise ValueError(f"a placement of {placement.original} cannot be applied to {(width, height)}")
    if placement.resized != placement.original:
        shrinks = placement.resized[0] < width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        picture = cv2.resize(picture, placement.resized, interpolation=interpolation)
    x, y, w, h = placement.crop
    return np.ascontiguousarray(picture[y : y + h, x : x + w])


def encode_jpeg(picture: Picture, quality: int) -> bytes:
    """The stored form of a picture. The same pixels give the same bytes."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"cannot encode a picture of shape {picture.shape} as JPEG")
    return bytes(data)


def decode_rgb(data: bytes | memoryview) -> Picture:
    """Decode a picture of a verified shard. Raises ValueError when it is none."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise ValueError("not a JPEG")
    return picture
