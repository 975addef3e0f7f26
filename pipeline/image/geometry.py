"""The geometry of a dataset: how large a picture becomes, where it is cropped, and where its points end up."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
import tyro

from t2i_shards.extractors import budget
from t2i_shards.extractors.maps.crop import SIZE_MULTIPLE
from t2i_shards.extractors.records import BadRecord, convert_record
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.stored import Picture
from t2i_shards.pipeline.marks import Common

MAX_SIZE = 4096


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

    size: Common[Annotated[int, tyro.conf.arg(aliases=["--resolution"])]] = 512
    """Length of the short side in pixels, a multiple of 64."""
    fit: Common[Literal["aspect", "square"]] = "aspect"
    """Keep the aspect (long side at most twice the short one), or crop to a square."""
    max_upscale: float = 2.0
    """A picture that would have to grow by more than this is dropped."""
    quality: int = 95
    """JPEG quality of the stored picture, 1 to 100."""
    chroma: Literal["444", "420"] | None = None
    """Colours of the stored picture: of every pixel (444), or of each four (420, which takes a fifth less). When
    not given, 444, and for a dataset that was begun what it has."""
    max_pixels: int = budget.PIXELS
    """A picture with more is dropped. The memory and the time that one may take grow with it."""

    legacy: ClassVar[bool] = False
    """Pictures are decoded by the rules of datasets that were begun before `chroma` was recorded."""

    def __post_init__(self) -> None:
        if self.size <= 0 or self.size % SIZE_MULTIPLE:
            raise RequestError(f"--size must be a positive multiple of {SIZE_MULTIPLE}, not {self.size}")
        if 2 * self.size**2 > budget.STORED_PIXELS:
            raise RequestError(f"--size must be at most {MAX_SIZE}, not {self.size}")
        if not 1 <= self.quality <= 100:
            raise RequestError(f"--quality must be 1 to 100, not {self.quality}")
        if self.max_pixels < 1:
            raise RequestError(f"--max-pixels must be at least 1, not {self.max_pixels}")

    @property
    def allowance(self) -> float:
        """Times the common budget of memory and time that decoding one picture may take."""
        return max(1.0, self.max_pixels / budget.PIXELS)

    @property
    def stored_chroma(self) -> Literal["444", "420"]:
        """How colours are stored."""
        return "420" if self.legacy else self.chroma or "444"

    def record(self) -> dict[str, Any]:
        """What dataset.json says; `load_geometry` reads it."""
        record = {**asdict(self), "chroma": self.stored_chroma}
        if self.max_pixels == budget.PIXELS:
            del record["max_pixels"]
        if self.legacy:
            del record["chroma"]
        return record

    def resume(self, begun: Geometry) -> Geometry:
        """This geometry for a dataset that was begun with another: what was not asked for is as it was then."""
        if self.chroma is not None:
            return self
        return LegacyGeometry(**asdict(self)) if begun.legacy else replace(self, chroma=begun.chroma)

    def place(self, width: int, height: int) -> Placement:
        """Both sides end as multiples of 64, cut from the centre. Raises Drop("too small", "too many pixels")."""
        return _place(self, width, height)


@functools.lru_cache(maxsize=8)  # decoding and cropping a picture ask for the same
def _place(geometry: Geometry, width: int, height: int) -> Placement:
    scale = geometry.size / min(width, height)
    if scale > geometry.max_upscale:
        raise Drop("too small")
    resized = (max(geometry.size, round(width * scale)), max(geometry.size, round(height * scale)))
    if resized[0] * resized[1] > budget.PIXELS:  # a long thin one is resized whole before it is cut
        raise Drop("too many pixels")
    longest = geometry.size if geometry.fit == "square" else 2 * geometry.size
    crop_w, crop_h = (min(side, longest) // SIZE_MULTIPLE * SIZE_MULTIPLE for side in resized)
    crop = ((resized[0] - crop_w) // 2, (resized[1] - crop_h) // 2, crop_w, crop_h)
    return Placement((width, height), resized, crop)


@dataclass(frozen=True)
class LegacyGeometry(Geometry):
    """Of a dataset that was begun before `chroma` was recorded: its pictures are decoded and stored as they were
    then, so that all of its shards are alike. Colour profiles are ignored, chroma is stored as 420.
    """

    legacy: ClassVar[bool] = True


def load_geometry(record: Mapping[str, Any]) -> Geometry:
    """The geometry that a dataset.json or a publication records. Raises RequestError."""
    try:
        return convert_record(record, Geometry if "chroma" in record else LegacyGeometry, closed=True)
    except BadRecord as error:
        raise RequestError(f"the geometry of a dataset {error}") from None


def apply_placement(picture: Picture, placement: Placement) -> Picture:
    """The picture resized (the mean of the area, or bilinear by less than two; bicubic when it grows) and cut.

    The picture may have been decoded at a half, a quarter or an eighth of its size.
    """
    height, width = picture.shape[:2]
    factor = next((f for f in (1, 2, 4, 8) if shrunk_size(placement.original, f) == (width, height)), None)
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


def shrunk_size(size: tuple[int, int], factor: int) -> tuple[int, int]:
    return -(-size[0] // factor), -(-size[1] // factor)
