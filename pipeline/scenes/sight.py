"""What can be seen of each thing once everything is drawn."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.scenes.canvas import Canvas


@dataclass(frozen=True)
class Sight:
    """owner (S, S) int64, the number in `World.all` of the thing at a pixel, -1 for the place;
    shares, the part of the picture that each thing covers; surface_shares, the same of each surface."""

    owner: npt.NDArray[np.int64]
    shares: list[float]
    surface_shares: list[float]


def look(canvas: Canvas, count: int) -> Sight:
    """`count` is how many things there are, seen or not."""
    owners = np.array(canvas.owners, np.int64)
    pixels = np.bincount(canvas.surface_at.ravel(), minlength=len(owners))
    covered = np.zeros(count + 1, np.int64)
    np.add.at(covered, owners + 1, pixels)
    size = canvas.key.size
    return Sight(owners[canvas.surface_at], [int(c) / size for c in covered[1:]], [int(p) / size for p in pixels])
