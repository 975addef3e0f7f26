"""COCO's people in the geometry that a picture was stored with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t2i_shards.extractors.maps.people import People
from t2i_shards.pipeline.image.geometry import Placement


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
