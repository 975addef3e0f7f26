"""The buffers that primitives are drawn into, and the drawing of primitives."""

import numpy as np
import numpy.typing as npt

from t2i_shards.pipeline.scenes.builder import Part
from t2i_shards.pipeline.scenes.geometry import Camera, Frame
from t2i_shards.pipeline.scenes.materials import Material, Single, tint
from t2i_shards.pipeline.scenes.setting import Surface
from t2i_shards.pipeline.scenes.shapes import Shape

FAR = 500.0
"""Depth of the sky in metres."""


class Canvas:
    """Per pixel: depth (S, S) float32 in metres along the optical axis, normal (3, S, S) float32 (any length),
    tint (S, S) float32 0..1, key (S, S) int32 = 8 * number in `surfaces` + face.

    `owners[i]` is the object that surface i belongs to, -1 for the setting; `inks[i]` is equal for surfaces with
    no line between them.
    """

    def __init__(self, camera: Camera) -> None:
        size = camera.size
        self.camera = camera
        self.rays = camera.rays()
        self.depth = np.full((size, size), FAR, np.float32)
        self.normal = np.zeros((3, size, size), np.float32)
        self.tint = np.zeros((size, size), np.float32)
        self.key = np.zeros((size, size), np.int32)
        self.surfaces: list[Surface] = []
        self.owners: list[int] = []
        self.inks: list[int] = []

    def surface(self, surface: Surface, owner: int, ink: int) -> int:
        """A new surface's first key."""
        self.surfaces.append(surface)
        self.owners.append(owner)
        self.inks.append(ink)
        return 8 * (len(self.surfaces) - 1)

    @property
    def surface_at(self) -> npt.NDArray[np.int32]:
        return self.key >> 3

    def window(self, shape: Shape) -> tuple[slice, slice] | None:
        """The rows and columns that hold a shape, None where it is outside the picture or behind the camera."""
        hull = shape.hull()
        column, row, depth = self.camera.project(hull[:, 0], hull[:, 1], hull[:, 2])
        size = self.camera.size
        if depth.min() <= 0.1:
            return None
        c0, c1 = max(int(column.min()) - 1, 0), min(int(column.max()) + 2, size)
        r0, r1 = max(int(row.min()) - 1, 0), min(int(row.max()) + 2, size)
        return (slice(r0, r1), slice(c0, c1)) if c0 < c1 and r0 < r1 else None

    def draw(self, part: Part, key: int, frame: Frame) -> None:
        """One primitive, where it is nearer than what is there."""
        window = self.window(part.shape)
        if window is None:
            return
        rays = self.rays.window(*window)
        hit = part.shape.hit(rays, self.camera)
        depth = self.depth[window]
        nearer = hit.t < depth
        np.copyto(depth, hit.t, where=nearer, casting="same_kind")
        for axis in range(3):
            np.copyto(self.normal[axis][window], hit.normal[axis], where=nearer, casting="same_kind")
        np.copyto(self.key[window], key + hit.face, where=nearer)
        tone: Single | float = 0.0
        if part.material.pattern:
            tone = self._tone(part.material, window, frame)
        np.copyto(self.tint[window], tone, where=nearer)

    def _tone(self, material: Material, window: tuple[slice, slice], frame: Frame) -> Single:
        """The pattern of the nearest surface so far in the window, in its object's own space."""
        rays, depth = self.rays.window(*window), self.depth[window]
        eye, origin = self.camera.position, frame.origin
        x, y, z = (
            d.astype(np.float32) * depth + np.float32(e - o)
            for d, e, o in zip((rays.x, rays.y, rays.z), eye, origin, strict=True)
        )
        (lx, _, lz), (fx, _, fz) = frame.left, frame.front
        across = x * np.float32(lx) + z * np.float32(lz)
        return tint(material, across, y, x * np.float32(fx) + z * np.float32(fz))
