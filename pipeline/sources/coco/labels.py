"""COCO's people and label maps (COCO-Stuff's, else the panoptic task's) in the geometry of a stored picture."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from t2i_shards.extractors.budget import check_memory, deadline
from t2i_shards.extractors.maps.coco_classes import COCO_STUFF, PANOPTIC_TO_VALUE, UNLABELLED
from t2i_shards.extractors.maps.people import People
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.geometry import Placement
from t2i_shards.pipeline.image.opened import DAMAGED
from t2i_shards.pipeline.sources.coco.annotations import annotation_file
from t2i_shards.pipeline.sources.coco.files import ImageFolders, Read, find_panoptic_maps, find_stuff_maps
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tree import UNREADABLE

NO_MAP = "not a label map"
MAP_BYTES = 64
"""Of memory for a pixel of a panoptic map, whose ids are looked up as 64-bit numbers."""


@dataclass(frozen=True)
class LabelMaps:
    """Where the label maps of a split lie, and of which kind they are."""

    kind: Literal["stuffthingmaps", "panoptic"]
    made_by: str
    folder: ImageFolders

    def place_map(self, row: Row, read: Read, placement: Placement) -> np.ndarray:
        """The map of a row's picture as `t2i_shards.extractors.maps.formats.Indexed` has it. Raises Drop."""
        try:
            data = read(row.extra["label_map"])
        except FileNotFoundError:
            raise Drop("no label map") from None
        except OSError:
            raise Drop(UNREADABLE) from None
        size = (row.extra["width"], row.extra["height"])
        if self.kind == "panoptic":
            labels = read_panoptic_map(data, size, row.extra["segments"])
        else:
            labels = read_label_map(data, size)
        return place_labels(labels, placement)


def find_label_maps(coco: Path, split: str) -> LabelMaps | None:
    """COCO-Stuff's maps where they are there, for they know more classes; else those of the panoptic task."""
    if folder := find_stuff_maps(coco, split):
        return LabelMaps("stuffthingmaps", "COCO-Stuff", folder)
    folder = find_panoptic_maps(coco, split)
    if folder and annotation_file(coco, "panoptic", split).is_file():
        return LabelMaps("panoptic", "COCO annotations", folder)
    return None


def read_label_map(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """A stuffthingmap of `size` (width, height) -> uint8 (H, W): 0..181, 255 = unlabelled. Raises Drop."""
    labels = _read_png(data, size, "L")
    if ((labels >= len(COCO_STUFF)) & (labels != UNLABELLED)).any():
        raise Drop(NO_MAP)
    return labels


def read_panoptic_map(data: bytes, size: tuple[int, int], segments: Sequence[Sequence[int]]) -> np.ndarray:
    """A panoptic PNG and its segments ([id, category id]) -> pixel values of COCO-Stuff, as `read_label_map`.

    A segment's id is R + 256 G + 65536 B; 0 is unlabelled (cocodataset.org, "data format").
    """
    ids = _read_png(data, size, "RGB").astype(np.int64) @ (1, 256, 65536)
    known = sorted(
        [(0, UNLABELLED), *((panoptic_id, PANOPTIC_TO_VALUE[category]) for panoptic_id, category in segments)]
    )
    order = np.array([panoptic_id for panoptic_id, _ in known])
    places = np.searchsorted(order, ids).clip(max=len(order) - 1)
    if (order[places] != ids).any():
        raise Drop(NO_MAP)
    values = np.array([value for _, value in known], np.uint8)
    return np.asarray(values[places])


def _read_png(data: bytes, size: tuple[int, int], mode: str) -> np.ndarray:
    """The most expensive file of `files.MAX_BYTES` (millions of empty chunks) takes a quarter of the deadline."""
    try:
        with deadline(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                if image.size != size:
                    raise Drop("label map of another size")
                check_memory(image.width * image.height, MAP_BYTES)
                if image.mode != mode:
                    raise Drop(NO_MAP)
                return np.asarray(image)
    except (*DAMAGED, Image.DecompressionBombError):
        raise Drop(NO_MAP) from None


def place_labels(labels: np.ndarray, placement: Placement) -> np.ndarray:
    """The labels (H, W) as the picture was resized and cut: each pixel takes the label under its centre.

    The centre of pixel i is i + 0.5, as cv2.resize has it for pictures; cv2.INTER_NEAREST takes the label under
    the pixel's corner.
    """
    x, y, width, height = placement.crop
    columns = ((2 * (x + np.arange(width)) + 1) * placement.original[0]) // (2 * placement.resized[0])
    rows = ((2 * (y + np.arange(height)) + 1) * placement.original[1]) // (2 * placement.resized[1])
    return np.asarray(labels[rows[:, None], columns])


def place_people(people: Sequence[Sequence[float]], placement: Placement) -> People:
    """People of 51 numbers (x, y, v of COCO-17) as the picture was resized and cut, in their order.

    Score: 1 for a visible point (v = 2), 0.5 for a hidden one (v = 1). A point that is not labelled or was cut
    away is (0, 0, 0); a person without any point left is gone.
    """
    x, y, width, height = placement.crop
    points = np.array(people, np.float64).reshape(-1, 17, 3)
    points[..., 0] = points[..., 0] * placement.resized[0] / placement.original[0] - x
    points[..., 1] = points[..., 1] * placement.resized[1] / placement.original[1] - y
    points[..., 2] = (points[..., 2] / 2).clip(0, 1)
    inside = (points[..., :2] >= 0).all(2) & (points[..., :2] < (width, height)).all(2)
    points[~inside | (points[..., 2] == 0)] = 0
    return People(height, width, points[points[..., 2].any(1)].astype(np.float32))
