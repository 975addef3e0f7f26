"""Members that are maps of a condition already, such as sketch.png: checked, and placed as their pictures are."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from t2i_shards.extractors.budget import TooCostly, check_memory, check_pixels, deadline
from t2i_shards.extractors.format import Format
from t2i_shards.extractors.maps.formats import Grey, Indexed
from t2i_shards.extractors.registry import format_of, formats
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.geometry import Placement, apply_placement
from t2i_shards.pipeline.image.opened import DAMAGED
from t2i_shards.pipeline.sources.coco.labels import place_labels

NOT_READABLE, OTHER_SIZE, OTHER_KIND = "map not readable", "map of another size", "not a map of its kind"
DARK_LINES = "map with lines that are dark on bright"
MAP_BYTES = 16
"""Of memory for a pixel of a map."""
AS_IS, INVERTED = "as-is", "inverted"
VERSION = 1
"""Of the rules by which maps are placed."""


@dataclass(frozen=True)
class MapColumn:
    """A condition whose maps are taken from the input. inverted: they are dark where this project's are bright."""

    condition: str
    inverted: bool = False

    @property
    def form(self) -> Format:
        return format_of(self.condition)

    @property
    def member(self) -> str:
        """Ending of the member, such as sketch.png."""
        return self.form.members[0]

    def recipe(self) -> Mapping[str, Any]:
        """What column.json says."""
        polarity = {"polarity": INVERTED if self.inverted else AS_IS} if self.form.invertible else {}
        return {
            "condition": self.condition,
            "made_by": "the input",
            "member": self.member,
            **polarity,
            "version": VERSION,
        }

    def place(self, data: bytes, placement: Placement) -> np.ndarray:
        """The map as `t2i_shards.extractors.maps.formats` has it, resized and cut as its picture. Raises Drop."""
        pixels = read_map(data, self.form)
        if pixels.shape[::-1] != placement.original:
            raise Drop(OTHER_SIZE)
        pixels = 255 - pixels if self.inverted else pixels
        if self.form.values == "edges" and self.form.find_oddity(pixels):
            raise Drop(DARK_LINES)
        return place_map(pixels, self.form, placement)


def parse_columns(asked: Sequence[str]) -> tuple[MapColumn, ...]:
    """The columns of --columns, such as sketch:inverted and seg. Raises RequestError."""
    if not asked:
        return ()
    fit = {name: form for name, form in formats().items() if isinstance(form, Grey | Indexed)}
    columns: list[MapColumn] = []
    for text in asked:
        name, _, polarity = text.partition(":")
        if name not in fit or name in [column.condition for column in columns]:
            raise RequestError(
                f"--columns must name conditions whose maps are grey or labels ({', '.join(fit)}), each once, "
                f"not {name!r}"
            )
        form = fit[name]
        if polarity not in ((AS_IS, INVERTED) if form.invertible else ("",)):
            way_out = (
                f"{name}:{AS_IS} where its maps are as this project's ({form.meanings[0]}), "
                f"{name}:{INVERTED} where they are dark for bright"
                if form.invertible
                else f"{name} alone"
            )
            raise RequestError(f"--columns must say {way_out}, not {text!r}")
        columns.append(MapColumn(name, polarity == INVERTED))
    return tuple(columns)


def read_map(data: bytes, form: Format) -> np.ndarray:
    """uint8 (H, W): the map in a PNG of unknown origin, as it is stored. Raises Drop.

    Grey may also come as RGB of three equal bands, as annotators of ControlNet write it; labels must have the
    palette of this project, for the ids of other palettes mean other things.
    """
    try:
        with deadline(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                check_pixels(*image.size)
                check_memory(image.width * image.height, MAP_BYTES)
                pixels = _read_labels(image, form) if isinstance(form, Indexed) else _read_grey(image)
    except (*DAMAGED, TooCostly, Image.DecompressionBombError):
        raise Drop(NOT_READABLE) from None
    if pixels is None:
        raise Drop(OTHER_KIND)
    return pixels


def place_map(pixels: np.ndarray, form: Format, placement: Placement) -> np.ndarray:
    """The map in the geometry of its stored picture: labels by the nearest pixel, the rest as pictures are.

    Lines are widened first to what one pixel covers when they shrink, so that none is torn.
    """
    if form.values == "labels":
        return place_labels(pixels, placement)
    shrinks = round(placement.original[0] / placement.resized[0])
    if form.values == "edges" and shrinks > 1:
        pixels = cv2.dilate(pixels, np.ones((shrinks, shrinks), np.uint8))
    return apply_placement(pixels, placement)


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) by the header. Raises Drop."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        raise Drop(NOT_READABLE)
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _read_grey(image: Image.Image) -> np.ndarray | None:
    if image.mode not in ("1", "L", "P", "RGB") or "transparency" in image.info:
        return None
    bands = np.asarray(image.convert("RGB"))
    return np.ascontiguousarray(bands[..., 0]) if (bands == bands[..., :1]).all() else None


def _read_labels(image: Image.Image, form: Indexed) -> np.ndarray | None:
    if image.mode != "P":
        return None
    labels = np.asarray(image)
    used, colours = np.unique(labels), image.getpalette("RGB") or []
    palette = np.zeros((256, 3), np.uint8)
    palette.reshape(-1)[: len(colours)] = colours
    return labels if (palette[used] == form.palette[used]).all() else None
