"""The setting of a scene: ground, what is behind it, sky or room, and light; drawn before any object in it."""

from collections.abc import Mapping
from dataclasses import dataclass

from t2i_shards.pipeline.scenes import catalogue, labels
from t2i_shards.pipeline.scenes.catalogue import Builder
from t2i_shards.pipeline.scenes.geometry import Vector, cosine, sine
from t2i_shards.pipeline.scenes.materials import COLOURS, Material, shade, vary
from t2i_shards.pipeline.scenes.rng import Rng


@dataclass(frozen=True)
class Surface:
    material: Material
    label: int


@dataclass(frozen=True)
class Light:
    """`toward` is the unit way to the light; `direct` and `ambient` are its colour and the shade's."""

    toward: Vector
    direct: Vector
    ambient: Vector


@dataclass(frozen=True)
class Sky:
    said: str
    horizon: Vector
    zenith: Vector
    clouds: Vector
    cover: float  # share of clouds, 0..1


@dataclass(frozen=True)
class Room:
    """Walls at depth `back` and `side` metres to both sides, ceiling at `high`."""

    said: str
    wall: Surface
    back: float
    side: float
    high: float


@dataclass(frozen=True)
class Setting:
    """`band` is a second ground between two depths (a road, the sea); `ridge` rises from the horizon.

    `on` names the ground, `by` what is seen behind it; both start with a preposition.
    """

    on: tuple[str, ...]
    by: str
    ground: Surface
    light: Light
    offers: Mapping[Builder, float]
    band: tuple[Surface, float, float] | None = None
    ridge: Surface | None = None
    sky: Sky | None = None
    room: Room | None = None


SKIES = (
    (Sky("under a clear blue sky", (0.74, 0.87, 0.97), (0.25, 0.50, 0.88), (1, 1, 1), 0.0), 3.0),
    (Sky("under a blue sky with clouds", (0.76, 0.87, 0.96), (0.26, 0.50, 0.86), (1.0, 1.0, 1.0), 0.5), 3.5),
    (Sky("under a grey sky", (0.80, 0.82, 0.84), (0.56, 0.59, 0.63), (0.88, 0.89, 0.90), 0.6), 1.7),
    (Sky("at sunset", (1.0, 0.66, 0.34), (0.42, 0.36, 0.62), (0.98, 0.55, 0.45), 0.45), 1.6),
    (Sky("at night", (0.12, 0.15, 0.30), (0.02, 0.03, 0.10), (0.14, 0.16, 0.27), 0.35), 0.7),
)


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _direction(rng: Rng, low: float, high: float) -> Vector:
    """Mostly from the side and from behind the camera, so that shadows stay in front of it."""
    height, round_ = rng.between(low, high), rng.between(-25, 205)
    return cosine(height) * cosine(round_), sine(height), -cosine(height) * sine(round_)


def _daylight(rng: Rng, sky: Sky) -> Light:
    if sky.said == "at sunset":
        return Light(_direction(rng, 20, 32), (0.80, 0.52, 0.30), (0.42, 0.40, 0.48))
    if sky.said == "at night":
        return Light(_direction(rng, 35, 60), (0.36, 0.39, 0.48), (0.28, 0.30, 0.41))
    if sky.said == "under a grey sky":
        return Light(_direction(rng, 55, 75), (0.28, 0.28, 0.28), (0.68, 0.69, 0.71))
    return Light(_direction(rng, 30, 65), (0.70, 0.67, 0.60), (0.43, 0.46, 0.52))


def _grass(rng: Rng) -> Surface:
    colour = vary(rng, (0.33, 0.58, 0.20))
    return Surface(Material(colour, shade(colour, 0.62), "rough", 14), labels.GRASS)


def _ridge(rng: Rng) -> tuple[Surface | None, str]:
    kind = rng.weigh({"": 3.0, "hills": 2.0, "mountains": 2.0})
    if kind == "hills":
        return Surface(
            Material((0.42, 0.56, 0.36), (0.34, 0.48, 0.31), "grained", 0.15), labels.HILL
        ), "before green hills"
    if kind == "mountains":
        return Surface(
            Material((0.47, 0.50, 0.58), (0.58, 0.60, 0.66), "grained", 0.1), labels.MOUNTAIN
        ), "before mountains"
    return None, ""


def _meadow(rng: Rng, sky: Sky, light: Light) -> Setting:
    ridge, by = _ridge(rng)
    return Setting(
        ("on the grass", "on a green meadow", "on a lawn"),
        by,
        _grass(rng),
        light,
        catalogue.COUNTRY,
        ridge=ridge,
        sky=sky,
    )


def _beach(rng: Rng, sky: Sky, light: Light) -> Setting:
    sand = vary(rng, (0.88, 0.77, 0.55), 0.03)
    blue = vary(rng, (0.12, 0.42, 0.62), 0.04)
    sea = Surface(Material(blue, shade(blue, 1.7), "rippled", 5, 0.2), labels.SEA)
    shore = (sea, rng.between(11, 16), 1e6)
    ground = Surface(Material(sand, shade(sand, 0.86), "rough", 11), labels.SAND)
    return Setting(
        ("on the sand", "on a sandy beach"), "by the sea", ground, light, catalogue.BEACH, shore, sky=sky
    )


def _desert(rng: Rng, sky: Sky, light: Light) -> Setting:
    sand = vary(rng, (0.84, 0.64, 0.40), 0.04)
    ridge, by = _ridge(rng)
    if ridge is not None and ridge.label == labels.HILL:
        ridge, by = None, ""
    ground = Surface(Material(sand, shade(sand, 0.85), "rough", 9), labels.SAND)
    return Setting(("on the sand", "on desert sand"), by, ground, light, catalogue.COUNTRY, ridge=ridge, sky=sky)


def _snow(rng: Rng, sky: Sky, light: Light) -> Setting:
    ridge, by = _ridge(rng)
    if ridge is not None and ridge.label == labels.HILL:
        ridge, by = None, ""
    ground = Surface(Material((0.94, 0.96, 0.99), (0.84, 0.88, 0.95), "rough", 8), labels.SNOW)
    return Setting(("on the snow", "in the snow"), by, ground, light, catalogue.COUNTRY, ridge=ridge, sky=sky)


def _field(rng: Rng, sky: Sky, light: Light) -> Setting:
    earth = vary(rng, (0.50, 0.36, 0.24), 0.04)
    ridge, by = _ridge(rng)
    ground = Surface(Material(earth, shade(earth, 0.7), "rough", 10), labels.DIRT)
    return Setting(("on bare earth", "on brown soil"), by, ground, light, catalogue.COUNTRY, ridge=ridge, sky=sky)


def _skyline(rng: Rng) -> tuple[Surface | None, str]:
    if rng.chance(0.35):
        return None, ""
    wall = vary(rng, (0.55, 0.57, 0.62))
    return Surface(Material(wall, shade(wall, 0.55), "windows", 0.3), labels.SKYSCRAPER), "before tall buildings"


def _street(rng: Rng, sky: Sky, light: Light) -> Setting:
    skyline, by = _skyline(rng)
    tar = Surface(Material((0.30, 0.30, 0.32), (0.22, 0.22, 0.24), "rough", 16), labels.ROAD)
    stone = Surface(Material((0.66, 0.64, 0.61), (0.50, 0.49, 0.47), "tiles", 1.2), labels.PAVEMENT)
    start = rng.between(5.5, 8)
    if rng.chance(0.5):
        road = (tar, start, start + rng.between(4, 7))
        return Setting(("on the pavement by a road",), by, stone, light, catalogue.TOWN, road, skyline, sky)
    verge = (_grass(rng), start + 4, 1e6)
    return Setting(("on a road", "on the street"), by, tar, light, catalogue.TOWN, verge, skyline, sky)


def _square(rng: Rng, sky: Sky, light: Light) -> Setting:
    skyline, by = _skyline(rng)
    stone = vary(rng, (0.70, 0.64, 0.56))
    ground = Surface(Material(stone, shade(stone, 0.68), "tiles", rng.between(0.8, 1.4)), labels.PAVEMENT)
    return Setting(
        ("on a paved square", "on stone slabs"), by, ground, light, catalogue.TOWN, ridge=skyline, sky=sky
    )


def _floor(rng: Rng) -> tuple[Surface, str]:
    kind = rng.weigh({"wooden": 3, "tiled": 1.5, "checkered": 2, "plain": 3, "carpet": 1.5})
    name = rng.pick([n for n in COLOURS if n != "black"])
    colour = vary(rng, shade(COLOURS[name], 0.92))
    if kind == "wooden":
        wood = vary(rng, rng.pick(((0.66, 0.44, 0.25), (0.50, 0.32, 0.18), (0.78, 0.60, 0.40))))
        return Surface(Material(wood, shade(wood, 0.62), "planks", 5, 0.1), labels.FLOOR_WOOD), "on a wooden floor"
    if kind == "tiled":
        tile = Material(colour, shade(colour, 0.6), "tiles", 2.2, 0.3)
        return Surface(tile, labels.FLOOR_TILE), f"on a floor of {name} tiles"
    if kind == "checkered":
        light, dark = rng.pick(
            (("white", "black"), ("white", "blue"), ("yellow", "brown"), ("white", "red"), ("grey", "green"))
        )
        tile = Material(COLOURS[light], COLOURS[dark], "squares", rng.between(1.2, 2), 0.2)
        return Surface(tile, labels.FLOOR_TILE), f"on a {light} and {dark} checkered floor"
    if kind == "carpet":
        return Surface(
            Material(colour, shade(colour, 0.8), "rough", 30), labels.CARPET
        ), f"on {article(name)} carpet"
    return Surface(Material(colour, gloss=0.05), labels.FLOOR_OTHER), f"on {article(name)} floor"


def _wall(rng: Rng) -> tuple[Surface, str]:
    kind = rng.weigh({"plain": 4, "brick": 2, "papered": 1.3, "panel": 1.2, "tiles": 1})
    name = rng.pick([n for n in COLOURS if n != "black" and (n, kind) != ("white", "papered")])
    light = vary(rng, COLOURS[name])
    pale: Vector = tuple(0.45 + 0.55 * c for c in light)  # type: ignore[assignment]
    if kind == "brick":
        brick = vary(rng, (0.62, 0.29, 0.21))
        return Surface(
            Material(brick, (0.78, 0.74, 0.69), "bricks", 7), labels.WALL_BRICK
        ), "in front of a brick wall"
    if kind == "papered":
        return Surface(
            Material(light, pale, "papered", 3), labels.WALL_OTHER
        ), f"in front of a wall with {name} stripes"
    if kind == "panel":
        wood = vary(rng, (0.52, 0.34, 0.20))
        return Surface(
            Material(wood, shade(wood, 0.6), "planks", 4), labels.WALL_PANEL
        ), "in front of a wood-panelled wall"
    if kind == "tiles":
        return Surface(
            Material(light, (0.85, 0.85, 0.83), "tiles", 3, 0.3), labels.WALL_TILE
        ), f"in front of a wall of {name} tiles"
    return Surface(Material(light), labels.WALL_OTHER), f"in front of {article(name)} wall"


def _room(rng: Rng) -> Setting:
    floor, on = _floor(rng)
    wall, said = _wall(rng)
    room = Room(said, wall, rng.between(6, 9.5), rng.between(2.8, 5.5), rng.between(2.7, 3.6))
    warm = rng.between(0.9, 1.0)
    light = Light(_direction(rng, 42, 70), (0.38, 0.38 * warm, 0.37 * warm * warm), (0.70, 0.69, 0.68))
    return Setting((on,), "", floor, light, catalogue.INDOORS, room=room)


def draw_setting(rng: Rng) -> Setting:
    if rng.chance(0.36):
        return _room(rng)
    sky = rng.weigh(dict(SKIES))
    kinds = {_meadow: 3.0, _beach: 2.0, _desert: 0.8, _snow: 1.2, _field: 1.0, _street: 2.2, _square: 1.6}
    return rng.weigh(kinds)(rng, sky, _daylight(rng, sky))
