"""Building objects out of primitives, in the object's own frame: x its left, y up, z its front, metres."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from t2i_shards.pipeline.scenes.geometry import Frame, Vector, add, cosine, perpendicular, scale, sine, sub
from t2i_shards.pipeline.scenes.materials import Material
from t2i_shards.pipeline.scenes.shapes import Ellipsoid, Frustum, Limb, Shape, ring_prism


@dataclass(frozen=True)
class Part:
    """A primitive of one material; parts of one `ink` are sketched without a line between them."""

    shape: Shape
    material: Material
    ink: int


@dataclass
class Model:
    """Collects parts; each call adds one primitive."""

    frame: Frame
    parts: list[Part] = field(default_factory=list)
    _inks: dict[str, int] = field(default_factory=dict)

    def _add(self, shape: Shape, material: Material, ink: str) -> None:
        number = self._inks.setdefault(ink or f"#{len(self.parts)}", len(self._inks))
        self.parts.append(Part(shape, material, number))

    def ball(self, centre: Vector, radii: float | Vector, material: Material, ink: str = "") -> None:
        a, b, c = (radii, radii, radii) if isinstance(radii, float) else radii
        turn = self.frame.turn
        axes = (turn((a, 0, 0)), turn((0, b, 0)), turn((0, 0, c)))
        self._add(Ellipsoid(self.frame.at(centre), axes), material, ink)

    def egg(self, centre: Vector, axes: tuple[Vector, Vector, Vector], material: Material, ink: str = "") -> None:
        """An ellipsoid of any attitude, by its half axes."""
        a, b, c = axes
        turn = self.frame.turn
        self._add(Ellipsoid(self.frame.at(centre), (turn(a), turn(b), turn(c))), material, ink)

    def limb(self, a: Vector, b: Vector, start: float, end: float, material: Material, ink: str = "") -> None:
        self._add(Limb(self.frame.at(a), self.frame.at(b), start, end), material, ink)

    def tube(
        self, a: Vector, b: Vector, radius: float, material: Material, top: float = 1.0, ink: str = ""
    ) -> None:
        """A cylinder from a to b, or a cone whose radius at b is `top` times as much."""
        first, second = perpendicular(sub(b, a))
        self.cone(a, sub(b, a), scale(first, radius), scale(second, radius), material, top, ink)

    def cone(
        self,
        base: Vector,
        axis: Vector,
        side: Vector,
        other: Vector,
        material: Material,
        top: float = 1.0,
        ink: str = "",
    ) -> None:
        turn = self.frame.turn
        shape = Frustum(self.frame.at(base), turn(axis), turn(side), turn(other), top)
        self._add(shape, material, ink)

    def box(
        self,
        base: Vector,
        size: Vector,
        material: Material,
        top: tuple[float, float] = (1.0, 1.0),
        ink: str = "",
    ) -> None:
        """A block on the middle of its underside; `top` narrows the upper side in x and z: (1, 0) is a roof."""
        x, y, z = base
        w, h, d = size[0] / 2, size[1], size[2] / 2
        ring = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        below = [self.frame.at((x + i * w, y, z + k * d)) for i, k in ring]
        above = [self.frame.at((x + i * w * top[0], y + h, z + k * d * top[1])) for i, k in ring]
        self._add(ring_prism(below, above), material, ink)

    def plate(self, centre: Vector, radius: float, thick: float, corners: int, material: Material) -> None:
        """An upright plate with that many corners, facing front."""
        rings: list[Sequence[Vector]] = []
        for z in (-thick / 2, thick / 2):
            turns = [360 * (i + 0.5) / corners for i in range(corners)]
            ring = [add(centre, (radius * sine(a), radius * cosine(a), z)) for a in turns]
            rings.append([self.frame.at(p) for p in ring])
        self._add(ring_prism(rings[0], rings[1]), material, "")


@dataclass(frozen=True)
class Thing:
    """An object in a scene: `label` its COCO-Stuff pixel value, `noun` its name in captions.

    `paint` is the material that `colour` names, where that covers a small part of the object.
    """

    noun: str
    label: int
    frame: Frame
    parts: tuple[Part, ...]
    radius: float
    height: float
    colour: str = ""
    adjectives: tuple[str, ...] = ()
    paint: Material | None = None

    @property
    def origin(self) -> Vector:
        return self.frame.origin


def apart(a: Thing, b: Thing) -> float:
    """Metres of free ground between two things, less than 0 where their circles overlap."""
    (ax, _, az), (bx, _, bz) = a.origin, b.origin
    return math.sqrt((ax - bx) * (ax - bx) + (az - bz) * (az - bz)) - a.radius - b.radius
