"""Solid primitives: where they lie in the picture, where a ray meets them, and their outline seen from a light.

Every ray starts at the camera; a hit's `t` is the depth along the optical axis in metres, inf on a miss.
Arithmetic is float64: the discriminants of thin limbs far away cancel badly in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from t2i_shards.pipeline.scenes.geometry import (
    Array,
    Camera,
    Rays,
    Vector,
    add,
    cosine,
    cross,
    dot,
    perpendicular,
    scale,
    sine,
    sub,
    unit,
)

_TURN = np.array([(cosine(30 * i), sine(30 * i)) for i in range(12)])
_CIRCUMSCRIBED = 1.0353  # of a circle's radius: the corners of the 12-gon around it


@dataclass(frozen=True)
class Hit:
    """t (h, w) metres; normal, three of (h, w), of any length; face (h, w), 0..7, a number per smooth side."""

    t: Array
    normal: tuple[Array, Array, Array]
    face: npt.NDArray[np.int32] | int = 0


class Shape(Protocol):
    def hull(self) -> Array:
        """Points (n, 3) whose convex hull holds the shape."""

    def outline(self, light: Vector) -> Array:
        """Points (n, 3) whose convex hull's shadow is the shape's, `light` being the way to the light."""

    def hit(self, rays: Rays, camera: Camera) -> Hit: ...


def circle(centre: Vector, first: Vector, second: Vector, radius: float = 1.0) -> Array:
    turn = _TURN * radius
    spokes: Array = turn[:, :1] * np.array(first) + turn[:, 1:] * np.array(second)
    return np.array(centre) + spokes


@dataclass(frozen=True)
class Ellipsoid:
    """Around `centre`, with three orthogonal half axes."""

    centre: Vector
    axes: tuple[Vector, Vector, Vector]

    @cached_property
    def _rows(self) -> tuple[Vector, ...]:
        return tuple(scale(a, 1 / dot(a, a)) for a in self.axes)

    def hull(self) -> Array:
        a, b, c = self.axes
        corners = [
            add(self.centre, add(scale(a, i), add(scale(b, j), scale(c, k))))
            for i in (-1, 1)
            for j in (-1, 1)
            for k in (-1, 1)
        ]
        return np.array(corners)

    def outline(self, light: Vector) -> Array:
        # In the unit sphere's own space the terminator is the great circle across the light.
        first, second = perpendicular(tuple(dot(row, light) for row in self._rows))  # type: ignore[arg-type]
        return circle(self.centre, self._out(first), self._out(second))

    def _out(self, q: Vector) -> Vector:
        a, b, c = self.axes
        return add(scale(a, q[0]), add(scale(b, q[1]), scale(c, q[2])))

    def hit(self, rays: Rays, camera: Camera) -> Hit:
        rows = self._rows
        start = [dot(row, sub(camera.position, self.centre)) for row in rows]
        ex, ey, ez = (rays.along(row) for row in rows)
        a = ex * ex + ey * ey + ez * ez
        toward = add(scale(rows[0], start[0]), add(scale(rows[1], start[1]), scale(rows[2], start[2])))
        b = rays.along(toward)
        c = start[0] * start[0] + start[1] * start[1] + start[2] * start[2] - 1
        h = b * b - a * c
        t = (-b - np.sqrt(np.maximum(h, 0))) / a
        qx, qy, qz = start[0] + t * ex, start[1] + t * ey, start[2] + t * ez
        normal = tuple(qx * rows[0][i] + qy * rows[1][i] + qz * rows[2][i] for i in range(3))
        return Hit(np.where((h > 0) & (t > 0), t, np.inf), normal)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Frustum:
    """A cone cut off at both ends, from `base` along `axis`; its cross-section's half axes are `side` and `other`
    at the base and `top` times as much at the end. Cylinder: top 1; cone: top 0."""

    base: Vector
    axis: Vector
    side: Vector
    other: Vector
    top: float = 1.0

    def hull(self) -> Array:
        return self._rims(_CIRCUMSCRIBED)

    def outline(self, light: Vector) -> Array:
        return self._rims(1.0)

    def _rims(self, radius: float) -> Array:
        below = circle(self.base, self.side, self.other, radius)
        above = circle(add(self.base, self.axis), self.side, self.other, radius * self.top)
        return np.concatenate([below, above])

    def hit(self, rays: Rays, camera: Camera) -> Hit:
        rows = [scale(a, 1 / dot(a, a)) for a in (self.side, self.other, self.axis)]
        ox, oy, oz = (dot(row, sub(camera.position, self.base)) for row in rows)
        ex, ey, ez = (rays.along(row) for row in rows)
        k = self.top - 1
        r = 1 + k * oz
        er = k * ez
        a = ex * ex + ey * ey - er * er
        b = ox * ex + oy * ey - r * er
        c = ox * ox + oy * oy - r * r
        h = b * b - a * c
        a = np.where(np.abs(a) < 1e-12, 1e-12, a)
        t = (-b - np.sqrt(np.maximum(h, 0))) / a
        z = oz + t * ez
        t = np.where((h > 0) & (z > 0) & (z < 1) & (t > 0), t, np.inf)
        end, reach = (1.0, self.top) if oz > 1 else (0.0, 1.0)
        cap = (end - oz) / ez
        x, y = ox + cap * ex, oy + cap * ey
        on_cap = (x * x + y * y < reach * reach) & (cap > 0) & (cap < t) & (not 0 <= oz <= 1)
        t = np.where(on_cap, cap, t)
        finite = np.where(t < np.inf, t, 0)
        qx, qy = ox + finite * ex, oy + finite * ey
        qz = -k * (1 + k * (oz + finite * ez))
        qx, qy, qz = np.where(on_cap, 0, qx), np.where(on_cap, 0, qy), np.where(on_cap, 2 * end - 1, qz)
        normal = tuple(qx * rows[0][i] + qy * rows[1][i] + qz * rows[2][i] for i in range(3))
        return Hit(t, normal, on_cap.astype(np.int32))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Limb:
    """A round cone: the hull of two balls of radii `start` at `a` and `end` at `b`.

    The intersection is Inigo Quilez' (iquilezles.org/articles/intersectors), for rays that are not unit vectors.
    """

    a: Vector
    b: Vector
    start: float
    end: float

    def hull(self) -> Array:
        low = [min(p - self.start, q - self.end) for p, q in zip(self.a, self.b, strict=True)]
        high = [max(p + self.start, q + self.end) for p, q in zip(self.a, self.b, strict=True)]
        ends = list(zip(low, high, strict=True))
        return np.array([(x, y, z) for x in ends[0] for y in ends[1] for z in ends[2]])

    def outline(self, light: Vector) -> Array:
        first, second = perpendicular(light)
        return np.concatenate([circle(self.a, first, second, self.start), circle(self.b, first, second, self.end)])

    def hit(self, rays: Rays, camera: Camera) -> Hit:
        along = sub(self.b, self.a)
        start = sub(camera.position, self.a)
        taper = self.start - self.end
        m0, m1, m5 = dot(along, along), dot(along, start), dot(start, start)
        m2, m3, dd = rays.along(along), rays.along(start), rays.square
        d2 = m0 - taper * taper
        k2 = d2 * dd - m2 * m2
        k1 = d2 * m3 - (m1 - taper * self.start) * m2
        k0 = d2 * m5 - m1 * m1 + m1 * taper * self.start * 2 - m0 * self.start * self.start
        h = k1 * k1 - k0 * k2
        t = (-np.sqrt(np.maximum(h, 0)) - k1) / k2
        y = t * m2 + (m1 - self.start * taper)
        t = np.where((h > 0) & (y > 0) & (y < d2), t, np.inf)
        m6 = m3 - m2
        m7 = m5 - 2 * m1 + m0
        for b, c, radius in ((m3, m5, self.start), (m6, m7, self.end)):
            h = b * b - dd * (c - radius * radius)
            t = np.where(h > 0, np.minimum(t, (-b - np.sqrt(np.maximum(h, 0))) / dd), t)
        finite = np.where(t < np.inf, t, 0)
        share = np.clip((finite * m2 + (m1 - self.start * taper)) / d2, 0, 1)
        normal = (
            start[0] + finite * rays.x - along[0] * share,
            start[1] + finite * rays.y - along[1] * share,
            start[2] + finite * rays.z - along[2] * share,
        )
        return Hit(t, normal)


@dataclass(frozen=True)
class Polyhedron:
    """Convex, from its corners and its faces, each a ring of corner numbers; faces are distinguished modulo 8."""

    corners: tuple[Vector, ...]
    faces: tuple[tuple[int, ...], ...]

    def hull(self) -> Array:
        return np.array(self.corners)

    def outline(self, light: Vector) -> Array:
        return self.hull()

    def _planes(self) -> list[tuple[Vector, Vector, int]]:
        """(outward normal, a corner on it, face number), without the faces that have collapsed."""
        total = (0.0, 0.0, 0.0)
        for corner in self.corners:
            total = add(total, corner)
        middle = scale(total, 1 / len(self.corners))
        planes = []
        for number, ring in enumerate(self.faces):
            p = [self.corners[i] for i in ring]
            normal = cross(sub(p[2], p[0]), sub(p[-1], p[1]))
            if dot(normal, normal) > 1e-12:
                normal = unit(normal)
                outward = normal if dot(normal, sub(p[0], middle)) > 0 else scale(normal, -1)
                planes.append((outward, p[0], number % 8))
        return planes

    def hit(self, rays: Rays, camera: Camera) -> Hit:
        shape = rays.square.shape
        near, far = np.zeros(shape), np.full(shape, np.inf)
        side = np.zeros(shape, np.int32)
        normals: list[Vector] = []
        numbers: list[int] = []
        for normal, corner, number in self._planes():
            distance = dot(normal, sub(corner, camera.position))
            facing = rays.along(normal)
            t = distance / facing
            if distance >= 0:
                far = np.minimum(far, np.where(facing > 0, t, np.inf))
                continue
            t = np.where(facing < 0, t, np.inf)
            later = t > near
            near = np.where(later, t, near)
            side = np.where(later, np.int32(len(normals)), side)
            normals.append(normal)
            numbers.append(number)
        t = np.where((near <= far) & (near > 0), near, np.inf)
        table = np.array(normals or [(0.0, 0.0, 1.0)])
        faces = np.array(numbers or [0], np.int32)
        return Hit(t, (table[side, 0], table[side, 1], table[side, 2]), faces[side])


def ring_prism(below: Sequence[Vector], above: Sequence[Vector]) -> Polyhedron:
    """The hull of two parallel rings of corners in the same order."""
    n = len(below)
    sides = tuple((i, (i + 1) % n, n + (i + 1) % n, n + i) for i in range(n))
    faces = (tuple(range(n)), tuple(range(n, 2 * n)), *sides)
    return Polyhedron(tuple(below) + tuple(above), faces)
