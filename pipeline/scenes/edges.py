"""The outlines of a scene: where surface, face or depth changes; textures and shadows draw none."""

import numpy as np
import numpy.typing as npt

from pipeline.scenes.canvas import Canvas

_STEP = 0.05
"""Metres between neighbours of one surface from which on a fold (an arm before the chest) is drawn."""


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
