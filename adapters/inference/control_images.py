"""What adapters are given: drawings read from files, or made from a photograph, at the size of the picture.

A file is placed as ingest places a picture: its short side becomes the size asked for, the aspect is kept, both
sides are cut from the centre to multiples of 64. One that has this size already is left as it is. Otherwise

- keypose numbers are moved and drawn anew, so that lines keep their width;
- drawings of keypose and seg, whose colours are labels, take the nearest pixel;
- a sketch becomes edges (over a half) first, and a pixel is an edge where a quarter of its area was one (less
  below half the size, where lines are thinner than that): of sketches of scenes at 512, brought to 256 so, the F1
  against sketches of the smaller scenes is 0.86. The nearest pixel, which tears lines, gives 0.76 and half the
  edges; Lanczos gives greys, which no adapter was trained on;
- depth is resized as a photograph is;
- a colour map, one pixel per cell of 64, keeps whole cells.
"""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import torch

from adapters.inference.map_file import describe_oddity, load_picture, load_shape
from extractors.base import Extractor
from extractors.maps.people import People
from extractors.registry import format_of, make_extractor
from pipeline.errors import RequestError
from pipeline.image.geometry import CELL, Geometry, Placement, apply_placement

log = logging.getLogger(__name__)

LINES = ("sketch", "canny")
LABELS = ("keypose", "seg")
GROW = 1000.0
"""A map that somebody gives may be enlarged as far as they like."""
QUARTER = 0.25


def read_drawing(condition: str, path: Path, geometry: Geometry, invert: bool = False) -> np.ndarray:
    """uint8 (H, W, C), what the adapter sees times 255: of a map's file, or of the JSON numbers of a keypose.

    invert: the file is black where white is meant. Warns of what looks like another kind of map. Raises
    RequestError for a file that holds no such map.
    """
    if condition == "keypose" and path.suffix == ".json":
        return _draw_people(_read_people(path), geometry)
    if condition in LINES:
        pixels = load_shape(path)
    else:
        pixels = load_picture(path, background=255 if condition == "color" else 0)
    if invert:
        pixels = 255 - pixels
    if oddity := describe_oddity(condition, pixels):
        log.warning("--condition %s=%s: %s", condition, path, oddity)
    height, width = pixels.shape[:2]
    if condition == "color" and max(height, width) < CELL:
        return _draw_cells(pixels, geometry)
    placement = geometry.place(width, height)
    if condition in LINES:
        return place_lines(pixels, placement)[..., None]
    if condition in LABELS:
        return _cut(cv2.resize(pixels, placement.resized, interpolation=cv2.INTER_NEAREST_EXACT), placement)
    placed = apply_placement(pixels, placement)
    return extract_drawing(make_extractor("color"), placed) if condition == "color" else placed


def extract_drawing(extractor: Extractor, picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, C): the drawing of the condition that a loaded extractor sees in the picture (H, W, 3)."""
    drawing = extractor.format.draw(extractor(np.stack([picture]))[0], *picture.shape[:2])
    return to_edges(drawing) if extractor.condition in LINES else drawing


def load_mask(path: Path, geometry: Geometry) -> np.ndarray:
    """bool (H, W), True where the file is brighter than a half: what is to be painted anew."""
    pixels = load_shape(path)
    placement = geometry.place(pixels.shape[1], pixels.shape[0])
    return _cut(cv2.resize(pixels, placement.resized, interpolation=cv2.INTER_NEAREST_EXACT), placement) > 127


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


def to_edges(lines: np.ndarray) -> np.ndarray:
    """uint8 -> 255 where it is over a half, else 0: what the published sketch adapters were trained on."""
    return np.where(lines > 127, np.uint8(255), np.uint8(0))


def to_drawing(drawing: np.ndarray, channels: int, name: str) -> torch.Tensor:
    """uint8 (H, W, C) -> float32 (1, channels, H, W) in 0..1. An adapter of 3 channels sees grey as RGB.

    Raises RequestError when colours are given to an adapter of one channel.
    """
    if drawing.shape[2] not in (1, channels):
        raise RequestError(f"the adapter for {name} takes {channels} channel, and the drawing has colours")
    pixels = torch.from_numpy(np.ascontiguousarray(drawing.transpose(2, 0, 1)))
    return pixels.float().div(255).expand(channels, -1, -1)[None]


def _read_people(path: Path) -> People:
    try:
        people = format_of("keypose").decode({"keypose.json": path.read_bytes()})
    except FileNotFoundError:
        raise RequestError(f"there is no file {path}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path} must hold keypoints as a keypose column does: {error!r}") from None
    assert isinstance(people, People)
    return people


def _draw_people(people: People, geometry: Geometry) -> np.ndarray:
    placement = geometry.place(people.width, people.height)
    left, top, width, height = placement.crop
    points = people.keypoints.astype(np.float64)
    points[..., 0] = points[..., 0] * placement.resized[0] / people.width - left
    points[..., 1] = points[..., 1] * placement.resized[1] / people.height - top
    return format_of("keypose").draw(People(height, width, points), height, width)


def _draw_cells(cells: np.ndarray, geometry: Geometry) -> np.ndarray:
    """uint8 (h, w, 3) -> as many cells as the picture of that aspect has, drawn."""
    placement = geometry.place(cells.shape[1] * CELL, cells.shape[0] * CELL)
    _, _, width, height = placement.crop
    fewer = apply_placement(
        cv2.resize(cells, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_NEAREST_EXACT), placement
    )
    small = cv2.resize(fewer, (width // CELL, height // CELL), interpolation=cv2.INTER_AREA)
    return format_of("color").draw(small, height, width)


def _cut(pixels: np.ndarray, placement: Placement) -> np.ndarray:
    left, top, width, height = placement.crop
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])
