"""Control images, which adapters are given: read from files or made from a photograph, at the picture's size.

A file is placed as ingest places a picture: its short side becomes the size asked for, the aspect is kept, both
sides are cut from the centre to multiples of 64. One that has this size already is left as it is. Otherwise

- numbers, as of a keypose, are moved and drawn again, so that lines keep their width;
- labels, the colours of keypose and seg, take the nearest pixel;
- edges, as of a sketch, become black or white first (over a half), and a pixel is an edge where a quarter of its
  area was one (less below half the size, where lines are thinner than that): of sketches of scenes at 512,
  brought to 256 so, the F1 against sketches of the smaller scenes is 0.86. The nearest pixel, which tears lines,
  gives 0.76 and half the edges; Lanczos gives greys, which no adapter was trained on;
- continuous values, such as depth, are resized as a photograph is;
- a map of cells, such as colours, one pixel per cell of 64, keeps whole cells.

Drawing programs save black on white, on a transparent background or in another palette. What can be read either
way is read as it was meant; what only looks wrong (`Format.find_oddity`) is used as it is, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from t2i_shards.extractors.base import Extractor
from t2i_shards.extractors.format import Format, Map, Values
from t2i_shards.extractors.registry import format_of, make_extractor
from t2i_shards.extractors.regular import read_regular
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.decode import read_picture
from t2i_shards.pipeline.image.geometry import Geometry, Placement, apply_placement

log = logging.getLogger(__name__)

GROW = 1000.0
"""A map that is given as a file may be enlarged without a limit."""
QUARTER = 0.25


def read_control_image(condition: str, path: Path, geometry: Geometry, invert: bool = False) -> np.ndarray:
    """uint8 (H, W, C), what the adapter sees times 255: of a map's file, a picture or JSON numbers.

    invert: the file is black where white is meant. Warns of what looks like another kind of map. Raises
    RequestError for a file that holds no such map.
    """
    form = format_of(condition)
    if form.is_numeric and path.suffix == ".json":
        return _render_numbers(form, _read_numbers(form, path), geometry)
    if form.channels == 1 or form.values == "edges":
        pixels = load_shape(path)
    else:
        pixels = load_picture(path, background=255 if form.from_crop else 0)
    if invert:
        pixels = 255 - pixels
    if oddity := form.find_oddity(pixels):
        hint = f"; try --invert {condition}" if form.values == "edges" else ""
        log.warning("--condition %s=%s: %s%s", condition, path, oddity, hint)
    height, width = pixels.shape[:2]
    if max(height, width) < form.cell:
        return _render_cells(form, pixels, geometry)
    placed = PLACE[form.values](pixels, geometry.place(width, height))
    if form.from_crop:
        return form.render(extract_from_crop(condition, placed), *placed.shape[:2])
    return placed if placed.ndim == 3 else placed[..., None]


def extract_control_image(extractor: Extractor, picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, C): the control image that a loaded extractor makes of a picture, uint8 (H, W, 3)."""
    form = extractor.format
    return to_seen(form.render(extractor(np.stack([picture]))[0], *picture.shape[:2]), form)


def extract_from_crop(condition: str, crop: np.ndarray) -> Map:
    """The default extractor's map of a crop, uint8 (H, W, 3): of conditions whose maps belong to one crop."""
    return _load_default(condition)(crop[None])[0]


@cache
def _load_default(condition: str) -> Extractor:
    """Once in each process, which may be a loader's."""
    extractor = make_extractor(condition)
    extractor.load("cpu")
    return extractor


def to_seen(image: np.ndarray, form: Format) -> np.ndarray:
    """A control image as the published adapters were trained on it: edges are 0 or 255."""
    return to_edges(image) if form.values == "edges" else image


def load_mask(path: Path, geometry: Geometry) -> np.ndarray:
    """bool (H, W), True where the file is brighter than a half: what is to be repainted."""
    pixels = load_shape(path)
    placement = geometry.place(pixels.shape[1], pixels.shape[0])
    return place_labels(pixels, placement) > 127


def make_geometry(size: int, fit: str) -> Geometry:
    """How files are placed; `size` and `fit` as of ingest, and anything may grow."""
    return Geometry(size, fit, max_upscale=GROW)  # type: ignore[arg-type]


def place_lines(lines: np.ndarray, placement: Placement) -> np.ndarray:
    """uint8 (H, W), soft or not -> 0 or 255 at the placement's size."""
    edges = to_edges(lines)
    if placement.resized != (lines.shape[1], lines.shape[0]):
        scale = placement.resized[0] / lines.shape[1]
        share = cv2.resize(
            edges, placement.resized, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        # Half of what a line one pixel wide covers, so that strong shrinking tears none.
        edges = np.where(share >= 255 * min(QUARTER, scale / 2), np.uint8(255), np.uint8(0))
    return _cut(edges, placement)


def place_labels(pixels: np.ndarray, placement: Placement) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) -> the nearest pixels at the placement's size."""
    return _cut(cv2.resize(pixels, placement.resized, interpolation=cv2.INTER_NEAREST_EXACT), placement)


def to_edges(lines: np.ndarray) -> np.ndarray:
    """uint8 -> 255 where it is over a half, else 0: what the published sketch adapters were trained on."""
    return np.where(lines > 127, np.uint8(255), np.uint8(0))


def to_control_image(control_image: np.ndarray, channels: int, name: str) -> torch.Tensor:
    """uint8 (H, W, C) -> float32 (1, channels, H, W) in 0..1. An adapter of 3 channels sees grey as RGB.

    Raises RequestError when colours are given to an adapter of one channel.
    """
    if control_image.shape[2] not in (1, channels):
        raise RequestError(f"the adapter for {name} takes {channels} channel, and the control image has colours")
    pixels = torch.from_numpy(np.ascontiguousarray(control_image.transpose(2, 0, 1)))
    return pixels.float().div(255).expand(channels, -1, -1)[None]


def _read_numbers(form: Format, path: Path) -> Map:
    try:
        return form.decode({form.members[0]: _read(path)})
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path} must hold what a column's {form.members[0]} holds: {error!r}") from None


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise RequestError(f"there is no file {path}") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None


def _render_numbers(form: Format, condition_map: Map, geometry: Geometry) -> np.ndarray:
    height, width = form.size(condition_map)
    placement = geometry.place(width, height)
    left, top, width, height = placement.crop
    window = slice(top, top + height), slice(left, left + width)
    return form.render(form.place(condition_map, placement.resized, window), height, width)


def _render_cells(form: Format, cells: np.ndarray, geometry: Geometry) -> np.ndarray:
    """uint8 (h, w, 3) -> the control image of as many cells as the picture of that aspect has."""
    height, width = (side * form.cell for side in cells.shape[:2])
    placement = geometry.place(width, height)
    pixels = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    placed = apply_placement(pixels, placement)
    height, width = placed.shape[:2]
    fewer = cv2.resize(placed, (width // form.cell, height // form.cell), interpolation=cv2.INTER_AREA)
    return form.render(fewer, height, width)


def _cut(pixels: np.ndarray, placement: Placement) -> np.ndarray:
    left, top, width, height = placement.crop
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


PLACE: dict[Values, Callable[[np.ndarray, Placement], np.ndarray]] = {
    "continuous": apply_placement,
    "labels": place_labels,
    "edges": place_lines,
}


def load_picture(path: Path, background: int = 255) -> np.ndarray:
    """uint8 (H, W, 3), upright; what is transparent lies on `background`. Raises RequestError."""
    try:
        return read_picture(_read(path), background=background)
    except Drop as drop:
        raise RequestError(f"{path} must be a picture: {drop.reason}") from None


def load_shape(path: Path) -> np.ndarray:
    """uint8 (H, W): a mask or a line drawing, white on black. Raises RequestError.

    A picture whose visible part is all dark or all bright says by its transparency alone where the shape is (black
    or white lines on a transparent sheet); any other lies on black.
    """
    on_black, on_white = load_picture(path, 0), load_picture(path, 255)
    alpha = 255 - (on_white - on_black).max(axis=2)
    grey = cv2.cvtColor(on_black, cv2.COLOR_RGB2GRAY)
    if alpha.min() == 255:
        return grey
    bright = grey[alpha > 127] > 127
    return grey if bright.any() and not bright.all() else alpha
