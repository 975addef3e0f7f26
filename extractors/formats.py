"""How conditions are stored in a sample and shown to an adapter.

One format per condition, whoever made the map (a network, annotations, a renderer), so that columns of
different makers are interchangeable.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from extractors import png
from extractors.base import Format, check_size
from extractors.palette import PALETTE
from extractors.people import PEOPLE_PALETTE, People, draw_people, draw_people_indices


@dataclass(frozen=True)
class Grey:
    """Map: uint8 (H, W), stored as grey PNG. Sketch, canny: 255 = edge. Depth: 255 = nearest."""

    member: str
    channels: int

    @property
    def members(self) -> tuple[str, ...]:
        return (self.member,)

    def encode(self, map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_grey(map)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_grey(members[self.member])

    def draw(self, map: np.ndarray, height: int, width: int) -> np.ndarray:
        check_size(map.shape, height, width)
        return np.repeat(map[:, :, None], self.channels, axis=2)


@dataclass(frozen=True)
class Labels:
    """Map: uint8 (H, W) COCO-Stuff pixel values 0..181, 255 = unlabelled, stored as palette PNG."""

    member: str = "seg.png"
    channels: int = 3

    @property
    def members(self) -> tuple[str, ...]:
        return (self.member,)

    def encode(self, map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_indexed(map, PALETTE)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_indexed(members[self.member])

    def draw(self, map: np.ndarray, height: int, width: int) -> np.ndarray:
        check_size(map.shape, height, width)
        return np.asarray(PALETTE[map])


@dataclass(frozen=True)
class Keypose:
    """Map: `People`. keypose.json holds the numbers and is what is read, keypose.png is the drawing."""

    members: tuple[str, ...] = ("keypose.json", "keypose.png")
    channels: int = 3

    def encode(self, map: People) -> dict[str, bytes]:
        keypoints = [
            [[round(float(x), 2), round(float(y), 2), round(float(score), 3)] for x, y, score in person]
            for person in map.keypoints
        ]
        record = {"persons": len(map), "height": map.height, "width": map.width, "keypoints": keypoints}
        return {
            "keypose.json": json.dumps(record, separators=(",", ":"), allow_nan=False).encode(),
            "keypose.png": png.encode_indexed(draw_people_indices(map), PEOPLE_PALETTE),
        }

    def decode(self, members: Mapping[str, bytes]) -> People:
        record = json.loads(members["keypose.json"])
        keypoints = np.array(record["keypoints"], np.float32).reshape(record["persons"], 17, 3)
        return People(record["height"], record["width"], keypoints)

    def draw(self, map: People, height: int, width: int) -> np.ndarray:
        check_size((map.height, map.width), height, width)
        return draw_people(map)


@dataclass(frozen=True)
class Cells:
    """Map: uint8 (h, w, 3) RGB, one colour per cell of the picture, stored at that size as RGB PNG."""

    member: str = "color.png"
    channels: int = 3

    @property
    def members(self) -> tuple[str, ...]:
        return (self.member,)

    def encode(self, map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_rgb(map)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_rgb(members[self.member])

    def draw(self, map: np.ndarray, height: int, width: int) -> np.ndarray:
        return np.asarray(cv2.resize(map, (width, height), interpolation=cv2.INTER_NEAREST))


FORMATS: dict[str, Format] = {
    "sketch": Grey("sketch.png", channels=1),
    "depth": Grey("depth.png", channels=3),
    "keypose": Keypose(),
    "seg": Labels(),
    "color": Cells(),
    "canny": Grey("canny.png", channels=1),
}


def depth_to_map(distance: np.ndarray) -> np.ndarray:
    """Distances in metres, float (H, W), > 0, inf allowed -> the depth map, uint8 (H, W), near white.

    As MiDaS shows depth: inverse distance, min-max over this one picture. Raises ValueError for <= 0 or NaN.
    """
    if not (distance > 0).all():
        raise ValueError(f"distances must be > 0 metres, got {distance[~(distance > 0)].flat[0]}")
    return scale_to_grey(1.0 / distance)


def scale_to_grey(values: np.ndarray) -> np.ndarray:
    """Min-max of one map, float (H, W) -> uint8, rounded; a constant map, which has no range, is all zero."""
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros(values.shape, np.uint8)
    return np.asarray(np.rint((values - low) / (high - low) * 255), np.uint8)
