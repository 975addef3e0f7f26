"""COCO-17 keypoints of the people who are seen."""

import numpy as np

from extractors.people import People
from pipeline.scenes.canvas import Canvas
from pipeline.scenes.geometry import dot
from pipeline.scenes.sight import Sight
from pipeline.scenes.world import World

SEEN = 0.003
"""Share of the picture that somebody must cover to be listed and named."""
HIDDEN = 0.5
"""Score of a joint that something, or the body itself, hides."""
_FLESH = 0.17  # metres from a joint to the skin over it, at most
_FACE = 0.06


def find_people(world: World, canvas: Canvas, sight: Sight) -> People:
    """Everybody who covers `SEEN` of the picture, nearest first; x, y in pixels, column c spanning c..c+1.

    Scores: 1 where the joint's skin or clothes are the nearest thing at its pixel; `HIDDEN` where another thing
    or part of the body is in front; 0, with x = y = 0, out of the picture and, as in COCO, for nose, eyes and ears
    that the head itself hides. Coordinates are rounded to 0.01 px: the last bits of a float differ from one
    processor to another, and a scene is the same bytes on every machine.
    """
    size = canvas.camera.size
    found = []
    for number, person in enumerate(world.people):
        if sight.shares[number] < SEEN:
            continue
        x, y, depth = canvas.camera.project(*(person.joints[:, i] for i in range(3)))
        points = np.zeros((17, 3), np.float32)
        for joint in range(17):
            column, row = int(np.floor(x[joint])), int(np.floor(y[joint]))
            if not (0 <= column < size and 0 <= row < size):
                continue
            own = sight.owner[row, column] == number
            flesh = _FACE if joint < 5 else _FLESH
            clear = own and canvas.depth[row, column] > depth[joint] - flesh
            if joint < 5 and not clear and (own or dot(person.gaze, person.thing.origin) > 0):
                continue
            points[joint] = round(float(x[joint]), 2), round(float(y[joint]), 2), 1.0 if clear else HIDDEN
        found.append((float(depth[11]), points))
    found.sort(key=lambda pair: pair[0])
    keypoints = np.stack([p for _, p in found]) if found else np.zeros((0, 17, 3), np.float32)
    return People(size, size, keypoints)
