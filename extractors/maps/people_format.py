"""How people are stored: their numbers as JSON, which is what is read, and a picture of the first two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from t2i_shards.extractors.format import Format, Values, check_size
from t2i_shards.extractors.maps import png
from t2i_shards.extractors.maps.crop import Window
from t2i_shards.extractors.maps.formats import find_other_colors
from t2i_shards.extractors.maps.people import MAX_DRAWN, PEOPLE_PALETTE, People, draw_people, draw_people_indices
from t2i_shards.extractors.records import BadRecord, Count, decode_record

if TYPE_CHECKING:
    from t2i_shards.extractors.maps.statistics import Statistic
    from t2i_shards.extractors.metrics.fidelity import Fidelity

Side = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


@dataclass(frozen=True)
class PeopleRecord:
    """What keypose.json holds."""

    persons: Count
    height: Side
    width: Side
    keypoints: list[list[list[float]]]


@dataclass(frozen=True)
class PeopleFormat(Format):
    """Map: `People`."""

    members: tuple[str, ...] = ("keypose.json", "keypose.png")
    meanings: tuple[str, ...] = (
        "COCO's 17 keypoints of every person: x, y in pixels, score",
        "the first two people, drawn",
    )
    values: Values = "labels"
    fidelity: Fidelity | None = None
    statistic: Statistic | None = None

    def encode(self, condition_map: People) -> dict[str, bytes]:
        # str gives the fewest digits that name a float32; earlier versions wrote 0.01 px and 0.001.
        keypoints = [
            [[float(str(number)) for number in point] for point in person] for person in condition_map.keypoints
        ]
        record = {
            "persons": len(condition_map),
            "height": condition_map.height,
            "width": condition_map.width,
            "keypoints": keypoints,
        }
        return {
            "keypose.json": json.dumps(record, separators=(",", ":"), allow_nan=False).encode(),
            "keypose.png": png.encode_indexed(draw_people_indices(condition_map), PEOPLE_PALETTE),
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

    def render(self, condition_map: People, height: int, width: int) -> np.ndarray:
        check_size((condition_map.height, condition_map.width), height, width)
        return draw_people(condition_map)

    def mirror(self, condition_map: People) -> People:
        return condition_map.mirrored()

    def size(self, condition_map: People) -> tuple[int, int]:
        return condition_map.height, condition_map.width

    def blank(self, condition_map: People) -> People:
        return self.empty(*self.size(condition_map))

    def empty(self, height: int, width: int) -> People:
        return People(height, width, np.zeros((0, 17, 3), np.float32))

    def crop(self, condition_map: People, window: Window) -> People:
        """Those who are drawn in the window, with the keypoints they have inside it."""
        height, width = (part.stop - part.start for part in window)
        points = condition_map.within(window).keypoints[:MAX_DRAWN] - _corner(window)
        outside = ((points[..., :2] < 0) | (points[..., :2] >= (width, height))).any(axis=2)
        points[outside, 2] = 0
        return People(height, width, points)

    def render_window(self, condition_map: People, height: int, width: int, window: Window) -> np.ndarray:
        """The first two who are seen in the window, not the first two of the whole picture."""
        return self.render(condition_map.within(window), height, width)[window]

    def is_blank(self, condition_map: People) -> bool:
        return not len(condition_map)

    def place(self, condition_map: People, size: tuple[int, int], window: Window) -> People:
        """All people, with points outside the window too, as lines lead to them."""
        height, width = (part.stop - part.start for part in window)
        points = condition_map.keypoints.astype(np.float64)
        points[..., 0] = points[..., 0] * size[0] / condition_map.width - window[1].start
        points[..., 1] = points[..., 1] * size[1] / condition_map.height - window[0].start
        return People(height, width, points)

    def find_oddity(self, pixels: np.ndarray) -> str | None:
        return find_other_colors(pixels, PEOPLE_PALETTE, "a COCO-17 drawing")


def _corner(window: Window) -> np.ndarray:
    return np.array([window[1].start, window[0].start, 0], np.float32)
