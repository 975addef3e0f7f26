"""What surfaces look like: named colours, patterns, and the noise under them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from t2i_shards.pipeline.scenes.geometry import Vector
from t2i_shards.pipeline.scenes.rng import Rng

Single = npt.NDArray[np.float32]

COLOURS: dict[str, Vector] = {
    "red": (0.80, 0.10, 0.09),
    "orange": (0.95, 0.48, 0.06),
    "yellow": (0.95, 0.82, 0.14),
    "green": (0.14, 0.58, 0.20),
    "blue": (0.11, 0.28, 0.80),
    "turquoise": (0.12, 0.70, 0.70),
    "purple": (0.46, 0.18, 0.64),
    "pink": (0.96, 0.52, 0.68),
    "brown": (0.42, 0.25, 0.12),
    "white": (0.93, 0.93, 0.91),
    "grey": (0.50, 0.50, 0.51),
    "black": (0.07, 0.07, 0.08),
}
PATTERNS = ("striped", "checkered", "spotted")
_TILE = 128


@dataclass(frozen=True)
class Material:
    """`pattern` blends `colour` into `other`; `grain` is how many periods it has per metre; gloss 0..1."""

    colour: Vector
    other: Vector = (0.0, 0.0, 0.0)
    pattern: str = ""
    grain: float = 1.0
    gloss: float = 0.0


def shade(colour: Vector, by: float) -> Vector:
    return min(colour[0] * by, 1.0), min(colour[1] * by, 1.0), min(colour[2] * by, 1.0)


def vary(rng: Rng, colour: Vector, spread: float = 0.05) -> Vector:
    """Another shade that keeps the name."""
    by = rng.around(1.0, 2 * spread)
    r, g, b = (min(max(c * by + rng.around(0, spread / 2), 0.0), 1.0) for c in colour)
    return r, g, b


@cache
def noise_tile() -> npt.NDArray[np.float32]:
    """Smooth noise (16384,), 0..1, one 128x128 tile that repeats without a seam, the same for every scene."""
    rng = np.random.Philox(key=np.array([7, 7], np.uint64))
    total = np.zeros((_TILE, _TILE), np.float32)
    for cells, weight in ((8, 0.4), (16, 0.3), (32, 0.2), (64, 0.1)):
        raw = (rng.random_raw(cells * cells) >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
        grid = raw.reshape(cells, cells)
        at = np.arange(_TILE) * cells / _TILE
        low = at.astype(np.int64)
        part = (at - low).astype(np.float32)
        part = part * part * (3 - 2 * part)
        high = (low + 1) % cells
        rows = grid[low] * (1 - part[:, None]) + grid[high] * part[:, None]
        total += weight * (rows[:, low] * (1 - part) + rows[:, high] * part)
    total -= total.min()
    total /= total.max()
    total.flags.writeable = False
    return total.ravel()


def noise(x: Single, y: Single) -> Single:
    """0..1, with features of 2 to 16 units."""
    column = np.floor(x).astype(np.int32) & (_TILE - 1)
    row = np.floor(y).astype(np.int32) & (_TILE - 1)
    return noise_tile()[row * _TILE + column]


def _parity(*at: Single) -> Single:
    total = np.zeros_like(at[0], np.int32)
    for a in at:
        total = total + np.floor(a).astype(np.int32)
    return (total & 1).astype(np.float32)


def _part(a: Single) -> Single:
    return a - np.floor(a)


def _striped(x: Single, y: Single, z: Single) -> Single:
    return (_part(y + 0.17) < 0.5).astype(np.float32)


def _checkered(x: Single, y: Single, z: Single) -> Single:
    return _parity(x + 0.01, y + 0.01, z + 0.01)


def _spotted(x: Single, y: Single, z: Single) -> Single:
    a, b, c = _part(x + 0.5) - 0.5, _part(y + 0.5) - 0.5, _part(z + 0.5) - 0.5
    return (a * a + b * b + c * c < 0.11).astype(np.float32)


def _grained(x: Single, y: Single, z: Single) -> Single:
    return noise(x + z, y)


def _wooden(x: Single, y: Single, z: Single) -> Single:
    return noise((x + z) * 0.15, y)


def _windows(x: Single, y: Single, z: Single) -> Single:
    across = _part(x + z)
    up = _part(y)
    return ((across > 0.3) & (across < 0.75) & (up > 0.3) & (up < 0.75)).astype(np.float32)


def _planks(x: Single, y: Single, z: Single) -> Single:
    """Boards along z, one per unit of x."""
    board = np.floor(x)
    tone = noise(board * 37, z * 0.3) * 0.4 + noise(board * 11 + _part(x) * 6, z * 1.5) * 0.35
    return np.where(_part(x) < 0.06, np.float32(1), tone)


def _tiles(x: Single, y: Single, z: Single) -> Single:
    """Square tiles with joints, in x and z."""
    joint = (_part(x) < 0.05) | (_part(z) < 0.05)
    return np.where(joint, np.float32(1), noise(np.floor(x) * 13, np.floor(z) * 29) * 0.25)


def _squares(x: Single, y: Single, z: Single) -> Single:
    return _parity(x, z)


def _bricks(x: Single, y: Single, z: Single) -> Single:
    """Courses of height one in z, bricks of length two in x: a wall is given as (x, -, height)."""
    course = np.floor(z)
    at = x * 0.5 + _parity(course) * 0.5
    joint = (_part(at) < 0.06) | (_part(z) < 0.12)
    return np.where(joint, np.float32(1), noise(np.floor(at) * 17, course * 23) * 0.45)


def _rippled(x: Single, y: Single, z: Single) -> Single:
    """Soft and long across the view: water."""
    return noise(x * 0.6, z * 3) * 0.6 + noise(x * 2, z * 7) * 0.4


def _rough(x: Single, y: Single, z: Single) -> Single:
    return noise(x, z) * 0.6 + noise(x * 5, z * 5) * 0.4


def _papered(x: Single, y: Single, z: Single) -> Single:
    return (_part(x) < 0.5).astype(np.float32)


_PATTERNS: dict[str, Callable[[Single, Single, Single], Single]] = {
    "striped": _striped,
    "checkered": _checkered,
    "spotted": _spotted,
    "grained": _grained,
    "wooden": _wooden,
    "windows": _windows,
    "planks": _planks,
    "tiles": _tiles,
    "squares": _squares,
    "bricks": _bricks,
    "rippled": _rippled,
    "rough": _rough,
    "papered": _papered,
}


def tint(material: Material, x: Single, y: Single, z: Single) -> Single:
    """How much of `other` shows at points of the object's own space in metres; float32, 0..1."""
    grain = np.float32(material.grain)
    return _PATTERNS[material.pattern](x * grain, y * grain, z * grain)


DARK = Material((0.06, 0.06, 0.07))
STEEL = Material((0.55, 0.57, 0.60), gloss=0.6)
GLASS = Material((0.20, 0.30, 0.38), gloss=0.9)
LAMP = Material((1.0, 0.93, 0.70), gloss=0.3)


def draw_paint(rng: Rng, patterned: bool = False) -> tuple[str, Material, tuple[str, ...]]:
    """(name of a colour, a material of it, adjectives that are true of it)."""
    name = rng.pick(list(COLOURS))
    colour = vary(rng, COLOURS[name])
    if patterned and rng.chance(0.35):
        pattern = rng.pick(PATTERNS)
        other = COLOURS["white"] if name not in ("white", "yellow") else COLOURS["black"]
        return name, Material(colour, other, pattern, rng.between(4, 6)), (pattern,)
    if rng.chance(0.25):
        return name, Material(colour, gloss=1.0), ("shiny",)
    return name, Material(colour, gloss=0.15), ()


def draw_size(rng: Rng, low: float, high: float) -> tuple[float, tuple[str, ...]]:
    """A size, with the adjective that it deserves."""
    at = rng.unit()
    word = ("small",) if at < 0.2 else ("big",) if at > 0.8 else ()
    return low + (high - low) * at, word
