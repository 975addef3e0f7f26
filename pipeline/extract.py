"""Maps of pictures in one line of Python, without shards: `extract("sketch", "photo.jpg").image`.

And extractors made ready for those who compute maps outside of a stage.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from PIL import Image

from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.batch import best_device
from t2i_shards.extractors.format import Map
from t2i_shards.extractors.registry import UnknownCondition, format_of, make_extractor
from t2i_shards.extractors.weights.file import WeightsDamaged, WeightsUnavailable
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.decode import read_picture
from t2i_shards.pipeline.image.profile import find_profile
from t2i_shards.pipeline.image.rgb import convert_to_rgb
from t2i_shards.pipeline.image.stored import Picture

ImageInput: TypeAlias = "Image.Image | np.ndarray | str | Path"
"""A PIL image, uint8 (H, W, 3) RGB or (H, W) grey, or the path of a picture."""
KEPT = 4
"""Networks that stay loaded in a process, the last ones used."""


def load_extractor(condition: str, variant: str, weights: Path | None, device: str) -> Extractor:
    """Ready on the device. Raises RequestError."""
    try:
        extractor = make_extractor(condition, variant, weights)
        extractor.load(device)
    except (UnknownCondition, WeightsUnavailable, WeightsDamaged) as error:
        raise RequestError(str(error)) from None
    return extractor


@dataclass(frozen=True)
class ConditionMap:
    """One picture's map. In a notebook it shows as its image.

    data: the numbers, as the condition's format defines them: uint8 (H, W) for sketch, depth and canny, classes as
    uint8 (H, W) for seg, uint8 (H // 64, W // 64, 3) for color, `People` for keypose.
    size: (width, height) of the picture, in pixels.
    """

    condition: str
    data: Map
    size: tuple[int, int]

    @property
    def image(self) -> Image.Image:
        """The control image, which a T2I-Adapter or a ControlNet is given: "L" or "RGB", of the picture's size."""
        width, height = self.size
        pixels = format_of(self.condition).render(self.data, height, width)
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.image.save(file, "PNG")
        return file.getvalue()


@overload
def extract(
    condition: str,
    image: ImageInput,
    *,
    variant: str = ...,
    weights: str | Path | None = ...,
    device: str | None = ...,
) -> ConditionMap: ...
@overload
def extract(
    condition: str,
    image: list[ImageInput] | tuple[ImageInput, ...],
    *,
    variant: str = ...,
    weights: str | Path | None = ...,
    device: str | None = ...,
) -> list[ConditionMap]: ...
def extract(
    condition: str,
    image: ImageInput | list[ImageInput] | tuple[ImageInput, ...],
    *,
    variant: str = "default",
    weights: str | Path | None = None,
    device: str | None = None,
) -> ConditionMap | list[ConditionMap]:
    """The map of a picture, or of each of several, at the picture's own size.

    condition: sketch, depth, keypose, seg, color or canny. variant: which network, as `--variant` of the command
    `extract`; "mini" needs no download. weights: a folder that holds the weights, as `--weights`. device: "cpu" or
    "cuda"; a GPU is used if there is one. A network is loaded at its first use and kept.

    Files are read as ingest reads them: upright, in sRGB, what is transparent on white. Of a PIL image the pixels
    are taken as they lie; profile and transparency are treated the same.

    Raises TypeError or ValueError for what is no picture, UnknownCondition (a ValueError) for a condition or
    variant that does not exist, WeightsUnavailable, DeviceUnavailable.
    """
    images = list(image) if isinstance(image, list | tuple) else [image]
    _check_condition(condition)
    pictures = [_read(one) for one in images]
    extractor = _load(condition, variant, Path(weights) if weights is not None else None, device or best_device())
    maps = [ConditionMap(condition, extractor(p[None])[0], (p.shape[1], p.shape[0])) for p in pictures]
    return maps if isinstance(image, list | tuple) else maps[0]


def _check_condition(condition: str) -> None:
    if not format_of(condition).is_condition:
        raise ValueError(f"{condition!r} is not a condition: it has no image")


@lru_cache(maxsize=KEPT)
def _load(condition: str, variant: str, weights: Path | None, device: str) -> Extractor:
    extractor = make_extractor(condition, variant, weights)
    extractor.load(device)
    return extractor


def _read(image: object) -> Picture:
    """uint8 (H, W, 3) RGB."""
    try:
        match image:
            case str() | Path():
                return read_picture(Path(image).read_bytes())
            case Image.Image():
                return convert_to_rgb(image, 255, find_profile(image.info.get("icc_profile"), image.mode))
            case np.ndarray():
                return _check_array(image)
    except Drop as drop:
        name = f" {image}" if isinstance(image, str | Path) else ""
        raise ValueError(f"cannot read the picture{name}: {drop.reason}") from None
    raise TypeError(f"a picture is a PIL image, an array, a path, or a list of these, not {type(image).__name__}")


def _check_array(pixels: np.ndarray) -> Picture:
    """A copy where the array cannot be written to, which torch warns of."""
    shape_fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not shape_fits or not pixels.size:
        raise ValueError(
            f"an array must be uint8 (H, W, 3) RGB or (H, W) grey, 0 to 255, not {pixels.dtype} {pixels.shape}"
        )
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return np.require(rgb, requirements=["C", "W"])
