"""Vectors, frames and the camera, in metres: x to the right, y up, z away from the camera.

Only + - * / and sqrt act on them, which IEEE 754 rounds the same everywhere; BLAS, fused multiply-adds and
vectorised sines do not, so pictures would differ between machines.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = tuple[float, float, float]
Array = npt.NDArray[np.float64]


def sine(degrees: float) -> float:
    """Rounded, because the last bits of libm's sine differ between machines."""
    return round(math.sin(math.radians(degrees)), 9)


def cosine(degrees: float) -> float:
    return round(math.cos(math.radians(degrees)), 9)


def add(a: Vector, b: Vector) -> Vector:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def sub(a: Vector, b: Vector) -> Vector:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def scale(a: Vector, by: float) -> Vector:
    return a[0] * by, a[1] * by, a[2] * by


def dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def unit(a: Vector) -> Vector:
    return scale(a, 1 / math.sqrt(dot(a, a)))


def perpendicular(a: Vector) -> tuple[Vector, Vector]:
    """Two unit vectors that complete `a` to an orthogonal frame."""
    other = (1.0, 0.0, 0.0) if abs(a[0]) < 0.6 * math.sqrt(dot(a, a)) else (0.0, 1.0, 0.0)
    first = unit(cross(a, other))
    return first, unit(cross(a, first))


@dataclass(frozen=True)
class Frame:
    """Where an object is and which way it faces: its own x is its left, y up, z its front.

    At yaw 0 it faces the camera, so that its left is on the picture's right; at 90 it faces the picture's right.
    """

    origin: Vector
    yaw: float

    @property
    def left(self) -> Vector:
        return cosine(self.yaw), 0.0, sine(self.yaw)

    @property
    def front(self) -> Vector:
        return sine(self.yaw), 0.0, -cosine(self.yaw)

    def turn(self, v: Vector) -> Vector:
        """A direction in the object's frame, in the world's."""
        c, s = cosine(self.yaw), sine(self.yaw)
        return v[0] * c + v[2] * s, v[1], v[0] * s - v[2] * c

    def at(self, v: Vector) -> Vector:
        """A point in the object's frame, in the world's."""
        return add(self.origin, self.turn(v))


@dataclass(frozen=True)
class Rays:
    """Directions of a window of pixels, x per column and y, z per row; one unit along one is
    one metre of depth."""

    x: Array
    y: Array
    z: Array
    square: Array

    def along(self, v: Vector) -> Array:
        """The dot product of every ray with `v`."""
        return self.x * v[0] + (self.y * v[1] + self.z * v[2])

    def window(self, rows: slice, columns: slice) -> "Rays":
        return Rays(self.x[:, columns], self.y[rows], self.z[rows], self.square[rows, columns])


@dataclass(frozen=True)
class Camera:
    """A pinhole at height `eye`, tilted down by `tilt` degrees; `focal` is in widths of the square picture."""

    eye: float
    tilt: float
    focal: float
    size: int

    @property
    def forward(self) -> Vector:
        return 0.0, -sine(self.tilt), cosine(self.tilt)

    @property
    def up(self) -> Vector:
        return 0.0, cosine(self.tilt), sine(self.tilt)

    @property
    def position(self) -> Vector:
        return 0.0, self.eye, 0.0

    def rays(self) -> Rays:
        at = (np.arange(self.size) + 0.5) / self.size - 0.5
        x = (at / self.focal)[None, :]
        v = (-at / self.focal)[:, None]
        y = v * self.up[1] + self.forward[1]
        z = v * self.up[2] + self.forward[2]
        return Rays(x, y, z, x * x + (y * y + z * z))

    def project(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """World points -> column, row (pixel c spans c..c+1) and depth along the optical axis."""
        above = y - self.eye
        depth = above * self.forward[1] + z * self.forward[2]
        height = above * self.up[1] + z * self.up[2]
        zoom = self.focal * self.size / np.maximum(depth, 0.05)
        return self.size / 2 + x * zoom, self.size / 2 - height * zoom, depth
