"""COCO-17 keypoints of the people who are seen."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t2i_shards.extractors.maps.people import People
from t2i_shards.pipeline.scenes.canvas import Canvas
from t2i_shards.pipeline.scenes.geometry import dot
from t2i_shards.pipeline.scenes.layout import Layout

_STEP = 0.05
"""Metres between neighbours of one surface from which on a fold (an arm before the chest) is drawn."""

SEEN = 0.003
"""Share of the picture that somebody must cover to be listed and named."""
HIDDEN = 0.5
"""Score of a joint that something, or the body itself, hides."""
_FLESH = 0.17  # metres from a joint to the skin over it, at most
_FACE = 0.06


@dataclass(frozen=True)
class Visibility:
    """owner (S, S) int64, the number in `Layout.all` of the object at a pixel, -1 for the setting;
    shares, the part of the picture that each object covers; surface_shares, the same of each surface."""

    owner: npt.NDArray[np.int64]
    shares: list[float]
    surface_shares: list[float]


def find_visible(canvas: Canvas, count: int) -> Visibility:
    """`count` is how many things there are, seen or not."""
    owners = np.array(canvas.owners, np.int64)
    pixels = np.bincount(canvas.surface_at.ravel(), minlength=len(owners))
    covered = np.zeros(count + 1, np.int64)
    np.add.at(covered, owners + 1, pixels)
    size = canvas.key.size
    return Visibility(
        owners[canvas.surface_at], [int(c) / size for c in covered[1:]], [int(p) / size for p in pixels]
    )


def borders(canvas: Canvas) -> npt.NDArray[np.bool_]:
    """(S, S), True on the last pixel before a border, to the right or below: lines one pixel wide."""
    number = canvas.surface_at
    ink = np.array(canvas.inks, np.int32)[number] * 8 + (canvas.key & 7)
    thing = np.array([owner >= 0 for owner in canvas.owners])[number]
    # One pixel of a slanting surface is deeper the farther away and the coarser the picture.
    limit = np.float32(_STEP) + canvas.depth * np.float32(6 / (canvas.camera.focal * canvas.camera.size))
    limit = np.where(thing, limit, np.float32(np.inf))
    border = np.zeros(ink.shape, bool)
    for a, b in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1),), (slice(1, None),)),
    ):
        step = np.abs(canvas.depth[a] - canvas.depth[b]) > np.minimum(limit[a], limit[b])
        border[a] |= (ink[a] != ink[b]) | (step & thing[a] & thing[b])
    return border


def lines(border: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The edge map (S, S): 255 on a border, 0 elsewhere."""
    return border.view(np.uint8) * np.uint8(255)


def find_people(layout: Layout, canvas: Canvas, visibility: Visibility) -> People:
    """All people who cover `SEEN` of the picture, nearest first; x, y in pixels, column c spanning c..c+1.

    Scores: 1 where the joint's skin or clothes are nearest at its pixel; `HIDDEN` where another object or part of
    the body is in front; 0, with x = y = 0, out of the picture and, as in COCO, for nose, eyes and ears
    that the head itself hides. Coordinates are rounded to 0.01 px: the last bits of a float differ from one
    processor to another, and a scene is the same bytes on every machine.
    """
    size = canvas.camera.size
    found = []
    for number, person in enumerate(layout.people):
        if visibility.shares[number] < SEEN:
            continue
        x, y, depth = canvas.camera.project(*(person.joints[:, i] for i in range(3)))
        points = np.zeros((17, 3), np.float32)
        for joint in range(17):
            column, row = int(np.floor(x[joint])), int(np.floor(y[joint]))
            if not (0 <= column < size and 0 <= row < size):
                continue
            own = visibility.owner[row, column] == number
            flesh = _FACE if joint < 5 else _FLESH
            clear = own and canvas.depth[row, column] > depth[joint] - flesh
            if joint < 5 and not clear and (own or dot(person.gaze, person.thing.origin) > 0):
                continue
            points[joint] = round(float(x[joint]), 2), round(float(y[joint]), 2), 1.0 if clear else HIDDEN
        found.append((float(depth[11]), points))
    found.sort(key=lambda pair: pair[0])
    keypoints = np.stack([p for _, p in found]) if found else np.zeros((0, 17, 3), np.float32)
    return People(size, size, keypoints)
