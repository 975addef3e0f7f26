"""How conditions are stored in a sample and shown to an adapter.

One format per condition, whoever made the map (a network, annotations, a renderer), so that columns of
different makers are interchangeable.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import cv2
import msgspec
import numpy as np

from extractors.base import Format, check_size
from extractors.maps import png
from extractors.maps.crop import STRIDE, Window, fixed_crop, fixed_side
from extractors.maps.palette import PALETTE
from extractors.maps.people import PEOPLE_PALETTE, People, draw_people, draw_people_indices
from extractors.records import BadRecord, Count, decode_record


@dataclass(frozen=True)
class Grey:
    """Map: uint8 (H, W), stored as grey PNG. Sketch, canny: 255 = edge. Depth: 255 = nearest."""

    member: str
    channels: int
    is_condition: ClassVar[bool] = True

    @property
    def members(self) -> tuple[str, ...]:
        return (self.member,)

    def encode(self, map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_grey(map)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_grey(members[self.member])

    def mirror(self, map: np.ndarray) -> np.ndarray:
        return map[:, ::-1]

    def draw(self, map: np.ndarray, height: int, width: int) -> np.ndarray:
        check_size(map.shape, height, width)
        return np.repeat(map[:, :, None], self.channels, axis=2)


@dataclass(frozen=True)
class Labels:
    """Map: uint8 (H, W) COCO-Stuff pixel values 0..181, 255 = unlabelled, stored as palette PNG."""

    member: str = "seg.png"
    channels: int = 3
    is_condition: ClassVar[bool] = True

    @property
    def members(self) -> tuple[str, ...]:
        return (self.member,)

    def encode(self, map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_indexed(map, PALETTE)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_indexed(members[self.member])

    def mirror(self, map: np.ndarray) -> np.ndarray:
        return map[:, ::-1]

    def draw(self, map: np.ndarray, height: int, width: int) -> np.ndarray:
        check_size(map.shape, height, width)
        return np.asarray(PALETTE[map])


Side = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


@dataclass(frozen=True)
class PeopleRecord:
    """What keypose.json holds."""

    persons: Count
    height: Side
    width: Side
    keypoints: list[list[list[float]]]


@dataclass(frozen=True)
class Keypose:
    """Map: `People`. keypose.json holds the numbers and is what is read, keypose.png is the drawing."""

    members: tuple[str, ...] = ("keypose.json", "keypose.png")
    channels: int = 3
    is_condition: ClassVar[bool] = True

    def encode(self, map: People) -> dict[str, bytes]:
        # str gives the fewest digits that name a float32; earlier versions wrote 0.01 px and 0.001.
        keypoints = [[[float(str(number)) for number in point] for point in person] for person in map.keypoints]
        record = {"persons": len(map), "height": map.height, "width": map.width, "keypoints": keypoints}
        return {
            "keypose.json": json.dumps(record, separators=(",", ":"), allow_nan=False).encode(),
            "keypose.png": png.encode_indexed(draw_people_indices(map), PEOPLE_PALETTE),
        }

    def decode(self, members: Mapping[str, bytes]) -> People:
        record = decode_record(members["keypose.json"], PeopleRecord)
        if record.persons != len(record.keypoints):
            raise BadRecord(f"must hold as many people as it says, {record.persons}, not {len(record.keypoints)}")
        try:
            keypoints = np.array(record.keypoints, np.float32).reshape(record.persons, 17, 3)
        except (ValueError, OverflowError):
            raise BadRecord("must hold 17 keypoints of 3 numbers for each person") from None
        return People(record.height, record.width, keypoints)

    def mirror(self, map: People) -> People:
        return map.mirrored()

    def draw(self, map: People, height: int, width: int) -> np.ndarray:
        check_size((map.height, map.width), height, width)
        return draw_people(map)


@dataclass(frozen=True)
class Cells:
    """Map: uint8 (h, w, 3) RGB, one colour per cell of the picture, stored at that size as RGB PNG."""

    member: str = "color.png"
    channels: int = 3
    is_condition: ClassVar[bool] = True

    @property
    def members(self) -> tuple[str, ...]:
        return (self.member,)

    def encode(self, map: np.ndarray) -> dict[str, bytes]:
        return {self.member: png.encode_rgb(map)}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return png.decode_rgb(members[self.member])

    def mirror(self, map: np.ndarray) -> np.ndarray:
        return map[:, ::-1]

    def draw(self, map: np.ndarray, height: int, width: int) -> np.ndarray:
        return np.asarray(cv2.resize(map, (width, height), interpolation=cv2.INTER_NEAREST))


@dataclass(frozen=True)
class Posterior:
    """Map: float16 (2, C, h, w), mean and log variance of the fixed crop's latent, stored as .npy."""

    member: str = "latents.npy"
    channels: int = 3
    is_condition: ClassVar[bool] = False

    @property
    def members(self) -> tuple[str, ...]:
        return (self.member,)

    def encode(self, map: np.ndarray) -> dict[str, bytes]:
        if not np.isfinite(map).all():
            raise ValueError(f"a latent must be finite in float16, and {(~np.isfinite(map)).sum()} values are not")
        file = io.BytesIO()
        np.lib.format.write_array(file, np.ascontiguousarray(map), version=(1, 0), allow_pickle=False)
        return {self.member: file.getvalue()}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        file = io.BytesIO(members[self.member])
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{self.member} must be a .npy file of version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.float16 or len(shape) != 4 or shape[0] != 2 or fortran:
            raise ValueError(f"{self.member} must hold float16 (2, C, h, w), not {dtype} {shape}")
        # Not read_array: it takes the memory that the header asks for before it looks how much is there.
        return np.frombuffer(file.getbuffer()[file.tell() :], np.float16).reshape(shape)

    def mirror(self, map: np.ndarray) -> np.ndarray:
        raise ValueError("the mirrored picture's latent is not the mirrored latent: it must be made anew")

    def draw(self, map: np.ndarray, height: int, width: int) -> np.ndarray:
        """The mean's first three channels as RGB, each min-max, where the crop lies; the rest is black."""
        side = fixed_side(height, width)
        if map.shape[2:] != (side // STRIDE, side // STRIDE):
            raise ValueError(f"a latent of {map.shape[2:]} does not belong to the fixed crop of {side} pixels")
        mean = map[0].astype(np.float32)
        shown = np.stack([scale_to_grey(mean[channel % len(mean)]) for channel in range(3)], axis=2)
        drawing = np.zeros((height, width, 3), np.uint8)
        rows, columns = fixed_crop(height, width)
        crop = cv2.resize(shown, (side, side), interpolation=cv2.INTER_NEAREST)
        drawing[rows, columns] = crop[: rows.stop - rows.start, : columns.stop - columns.start]
        return drawing


FORMATS: dict[str, Format] = {
    "sketch": Grey("sketch.png", channels=1),
    "depth": Grey("depth.png", channels=3),
    "keypose": Keypose(),
    "seg": Labels(),
    "color": Cells(),
    "canny": Grey("canny.png", channels=1),
    "latents": Posterior(),
}


def draw_window(form: Format, map: Any, height: int, width: int, window: Window) -> np.ndarray:
    """uint8 (h, w, channels): the drawing of what a window of the picture (height, width) shows.

    Of people the first two who are seen in the window are drawn, not the first two of the whole picture.
    """
    if isinstance(map, People):
        map = map.within(window)
    return form.draw(map, height, width)[window]


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
