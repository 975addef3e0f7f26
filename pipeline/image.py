"""Pictures: reading what strangers wrote, the geometry of a dataset, and the bytes that are stored."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from pipeline.errors import Drop, RequestError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
WEB_FORMATS = ("JPEG", "PNG", "WEBP")
"""What is taken from strangers on the web: the decoders that browsers have hardened."""
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


@dataclass(frozen=True)
class Decoded:
    """A picture as it was decoded, upright. size: (width, height) of the whole picture; a JPEG that shrinks may
    have been decoded at a half, a quarter or an eighth of it.
    """

    picture: Picture
    size: tuple[int, int]


def read_picture(data: bytes, formats: tuple[str, ...] = FORMATS, background: int = 255) -> Picture:
    """Decode bytes of unknown origin to RGB, upright by their EXIF orientation.

    Grey, palette, CMYK and 16-bit pictures become 8-bit RGB; what is transparent lies on `background`, white by
    default.
    Raises Drop: "not a picture", "too many pixels", "animated", "truncated", "unsupported mode".
    """
    return _decode(data, None, formats, background).picture


def decode_picture(data: bytes, geometry: Geometry, formats: tuple[str, ...] = FORMATS) -> Decoded:
    """Decode bytes of unknown origin as far as the geometry needs them; drops as `read_picture` has them.

    Raises Drop("too small") by the header alone, nothing of it decoded.
    """
    return _decode(data, geometry, formats)


def _decode(data: bytes, geometry: Geometry | None, formats: tuple[str, ...], background: int = 255) -> Decoded:
    with warnings.catch_warnings():
        # Pillow warns of pictures that are large and of some that are damaged; both are judged here.
        warnings.simplefilter("ignore")
        image = _open(data, formats)
        try:
            if geometry:
                geometry.place(*image.size)  # drops what is too small, before EXIF makes Pillow read on
            turn = image.getexif().get(ExifTags.Base.Orientation, 1)
            width, height = image.size[::-1] if turn in SIDEWAYS else image.size
            # MPO is a JPEG with further views behind it, as telephones write it; the first is the photograph.
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise Drop("animated")
            if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
                picture = _decode_jpeg(data, image.size, _factor((width, height), turn, geometry))
                if picture is not None:
                    return Decoded(_turn(picture, turn), (width, height))
            image.load()
            return Decoded(_to_rgb(ImageOps.exif_transpose(image), background), (width, height))
        except DAMAGED:
            raise Drop("truncated") from None


SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations (EXIF 2.3, section 4.6.4, tag 0x0112) that swap width and height."""


def _factor(size: tuple[int, int], turn: int, geometry: Geometry | None) -> int:
    """By how much a JPEG may be decoded smaller: it must not have to grow again."""
    if geometry is None:
        return 1
    resized = geometry.place(*size).resized
    most = min(size[0] // resized[0], size[1] // resized[1])
    # A side that is no multiple ends with a pixel that hangs over; turned round, it would hang over at the start.
    return next((f for f in (8, 4, 2) if f <= most and (turn == 1 or not (size[0] % f or size[1] % f))), 1)


def _decode_jpeg(data: bytes, size: tuple[int, int], factor: int) -> Picture | None:
    """Twice as fast as Pillow, and at 1/factor of the size faster still; None for what is damaged or unusual.

    The discrete cosine transform of a smaller block is a shrunken picture: no pixel is left out of the mean.
    """
    width, height = (-(-side // factor) if factor > 1 else 0 for side in size)
    try:
        picture = simplejpeg.decode_jpeg(data, "RGB", fastupsample=True, min_height=height, min_width=width)
        return np.asarray(picture)
    except ValueError:
        return None


def _turn(picture: Picture, orientation: int) -> Picture:
    """Upright, by the EXIF orientation of the stored picture."""
    if orientation in SIDEWAYS:
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _open(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The picture by its header, nothing of it decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise Drop("too many pixels") from None
    except DAMAGED:
        raise Drop("not a picture") from None
    # Pillow's own limit refuses only what is twice as large.
    if image.width * image.height > MAX_PIXELS:
        raise Drop("too many pixels")
    return image


def _to_rgb(image: Image.Image, background: int) -> Picture:
    if image.mode.startswith("I;16"):
        # Pillow's convert clips 16-bit greys at 255.
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F", "LAB"):
        raise Drop("unsupported mode")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(below, image)
    return np.ascontiguousarray(image.convert("RGB"))


def apply_placement(picture: Picture, placement: Placement) -> Picture:
    """The picture resized (the mean of the area, or bilinear by less than two; bicubic when it grows) and cut.

    The picture may have been decoded at a half, a quarter or an eighth of its size.
    """
    height, width = picture.shape[:2]
    factor = next((f for f in (1, 2, 4, 8) if _shrunk(placement.original, f) == (width, height)), None)
    if factor is None:
        raise ValueError(f"a placement of {placement.original} cannot be applied to {(width, height)}")
    if factor > 1:
        # The last pixels may hang over the picture's end: by the exact scale every point comes where it belongs.
        fx, fy = (factor * to / of for to, of in zip(placement.resized, placement.original, strict=True))
        picture = cv2.resize(picture, None, fx=fx, fy=fy, interpolation=_interpolation(fx))
    elif placement.resized != (width, height):
        interpolation = _interpolation(placement.resized[0] / width)
        picture = cv2.resize(picture, placement.resized, interpolation=interpolation)
    x, y, w, h = placement.crop
    return np.ascontiguousarray(picture[y : y + h, x : x + w])


def _interpolation(scale: float) -> int:
    """Above a half, bilinear looks at every pixel too, within 0.2 dB of the mean and in a sixth of its time."""
    if scale > 1:
        return cv2.INTER_CUBIC
    return cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA


def _shrunk(size: tuple[int, int], factor: int) -> tuple[int, int]:
    return -(-size[0] // factor), -(-size[1] // factor)


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
