"""Objects that people leave outdoors, plants and rocks."""

from t2i_shards.pipeline.scenes import labels
from t2i_shards.pipeline.scenes.builder import Model, Thing
from t2i_shards.pipeline.scenes.geometry import Frame, Vector
from t2i_shards.pipeline.scenes.materials import (
    COLOURS,
    DARK,
    GLASS,
    LAMP,
    STEEL,
    Material,
    draw_paint,
    shade,
    vary,
)
from t2i_shards.pipeline.scenes.rng import Rng

BARK = Material((0.36, 0.24, 0.14), (0.22, 0.14, 0.08), "wooden", 60)


def umbrella(rng: Rng, frame: Frame) -> Thing:
    """An open sunshade on its stand."""
    name, paint, _ = draw_paint(rng)
    model = Model(frame)
    model.tube((0, 0, 0), (0, 0.07, 0), 0.25, DARK)
    model.limb((0, 0, 0), (0, 2.2, 0), 0.025, 0.02, STEEL)
    cloth = Material(paint.colour, gloss=0.1)
    model.tube((0, 1.75, 0), (0, 2.2, 0), 0.95, cloth, top=0.03)
    return Thing("umbrella", labels.UMBRELLA, frame, tuple(model.parts), 0.6, 2.2, name, ("open",), cloth)


def car(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    body = Material(paint.colour, gloss=0.9)
    model = Model(frame)
    model.box((0, 0.3, 0), (1.7, 0.5, 3.9), body, top=(0.94, 0.97))
    model.box((0, 0.79, -0.25), (1.52, 0.52, 2.2), GLASS, top=(0.82, 0.6))
    model.box((0, 1.26, -0.25), (1.3, 0.07, 1.42), body, top=(0.94, 0.94))
    for z in (-1.22, 1.22):
        for x in (-0.72, 0.72):
            side = 0.15 if x > 0 else -0.15
            model.tube((x, 0.33, z), (x + side, 0.33, z), 0.33, DARK)
            model.tube((x + side, 0.33, z), (x + side * 1.1, 0.33, z), 0.17, STEEL)
    for x in (-0.58, 0.58):
        model.ball((x, 0.62, 1.93), (0.14, 0.09, 0.05), LAMP)
        model.ball((x, 0.62, -1.93), (0.14, 0.08, 0.05), Material((0.75, 0.05, 0.05)))
    return Thing("car", labels.CAR, frame, tuple(model.parts), 1.7, 1.35, name)


def stop_sign(rng: Rng, frame: Frame) -> Thing:
    h = rng.between(1.7, 2.2)
    model = Model(frame)
    model.limb((0, 0, -0.05), (0, h, -0.05), 0.03, 0.03, STEEL)
    model.plate((0, h, 0), 0.36, 0.02, 8, Material((0.92, 0.92, 0.92)))
    model.plate((0, h, 0.012), 0.32, 0.02, 8, Material((0.78, 0.08, 0.09), gloss=0.2))
    model.box((0, h - 0.05, 0.02), (0.42, 0.10, 0.02), Material((0.94, 0.94, 0.94)))
    return Thing("stop sign", labels.STOP_SIGN, frame, tuple(model.parts), 0.36, h + 0.36)


def street_sign(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    h = rng.between(1.8, 2.3)
    model = Model(frame)
    model.limb((0, 0, 0), (0, h, 0), 0.03, 0.03, STEEL)
    model.box((0, h, 0), (0.9, 0.34, 0.04), Material((0.92, 0.92, 0.92)))
    board = Material(paint.colour)
    model.box((0, h + 0.03, 0), (0.84, 0.28, 0.06), board)
    return Thing("street sign", labels.STREET_SIGN, frame, tuple(model.parts), 0.45, h + 0.34, name, (), board)


def traffic_light(rng: Rng, frame: Frame) -> Thing:
    lit = rng.pick((0, 1, 2))
    model = Model(frame)
    model.limb((0, 0, -0.12), (0, 2.6, -0.12), 0.05, 0.04, STEEL)
    model.box((0, 1.75, 0), (0.3, 0.86, 0.2), DARK)
    lamps: tuple[Vector, ...] = ((0.95, 0.10, 0.08), (0.98, 0.75, 0.08), (0.10, 0.85, 0.30))
    shining = Material(lamps[lit], gloss=0.5)
    for i, lamp in enumerate(lamps):
        glass = shining if i == lit else Material(shade(lamp, 0.22), gloss=0.5)
        model.ball((0, 2.46 - i * 0.27, 0.1), (0.1, 0.1, 0.05), glass)
    word = ("red", "yellow", "green")[lit]
    return Thing("traffic light", labels.TRAFFIC_LIGHT, frame, tuple(model.parts), 0.25, 2.6, word, (), shining)


def fire_hydrant(rng: Rng, frame: Frame) -> Thing:
    name = rng.pick(("red", "yellow", "blue"))
    paint = Material(vary(rng, COLOURS[name]), gloss=0.4)
    model = Model(frame)
    model.tube((0, 0, 0), (0, 0.08, 0), 0.2, paint)
    model.tube((0, 0.08, 0), (0, 0.6, 0), 0.14, paint)
    model.ball((0, 0.62, 0), 0.16, paint)
    model.tube((-0.24, 0.45, 0), (0.24, 0.45, 0), 0.07, paint)
    model.tube((0, 0.4, 0.1), (0, 0.4, 0.22), 0.09, paint)
    model.tube((0, 0.74, 0), (0, 0.84, 0), 0.05, paint)
    return Thing("fire hydrant", labels.FIRE_HYDRANT, frame, tuple(model.parts), 0.25, 0.84, name)


def tent(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    model = Model(frame)
    model.box((0, 0, 0), (2.2, 1.4, 2.2), Material(paint.colour), top=(0, 1.0))
    model.box((0, 0.0, 1.09), (0.9, 1.0, 0.04), Material(shade(paint.colour, 0.35)), top=(0, 1.0))
    return Thing("tent", labels.TENT, frame, tuple(model.parts), 1.3, 1.4, name)


def house(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    model = Model(frame)
    roof = Material((0.55, 0.22, 0.16) if name not in ("red", "orange", "brown") else (0.28, 0.28, 0.32))
    model.box((0, 0, 0), (5.0, 2.8, 4.0), Material(paint.colour))
    model.box((0, 2.8, 0), (5.5, 1.7, 4.6), roof, top=(0.75, 0.0))
    model.box((0, 0, 2.0), (0.9, 2.0, 0.1), Material((0.30, 0.18, 0.10)))
    for x in (-1.6, 1.6):
        model.box((x, 1.0, 2.0), (1.1, 1.1, 0.08), Material((0.95, 0.95, 0.93)))
        model.box((x, 1.08, 2.0), (0.94, 0.94, 0.12), GLASS)
    return Thing("house", labels.HOUSE, frame, tuple(model.parts), 3.0, 4.5, name)


def tree(rng: Rng, frame: Frame) -> Thing:
    """A broad-leaved one."""
    h = rng.between(2.6, 4.2)
    leaf = Material(vary(rng, (0.20, 0.47, 0.14)), (0.08, 0.26, 0.07), "grained", 25)
    model = Model(frame)
    model.limb((0, 0, 0), (0, h * 0.55, 0), 0.13, 0.09, BARK)
    for _ in range(6):
        at = (rng.around(0, 0.55), h * rng.between(0.58, 0.85), rng.around(0, 0.45))
        model.ball(at, rng.between(0.45, 0.75), leaf, "crown")
    return Thing("tree", labels.TREE, frame, tuple(model.parts), 0.8, h)


def pine(rng: Rng, frame: Frame) -> Thing:
    h = rng.between(2.4, 4.2)
    needle = Material(vary(rng, (0.10, 0.34, 0.18)), (0.05, 0.20, 0.10), "grained", 25)
    model = Model(frame)
    model.limb((0, 0, 0), (0, h * 0.3, 0), 0.11, 0.1, BARK)
    for low, high, r in ((0.16, 0.55, 0.85), (0.38, 0.78, 0.66), (0.6, 1.0, 0.46)):
        model.tube((0, h * low, 0), (0, h * high, 0), r, needle, top=0.02)
    return Thing("pine tree", labels.TREE, frame, tuple(model.parts), 0.75, h)


def bush(rng: Rng, frame: Frame) -> Thing:
    leaf = Material(vary(rng, (0.22, 0.45, 0.15)), (0.08, 0.25, 0.07), "grained", 30)
    model = Model(frame)
    for _ in range(5):
        at = (rng.around(0, 0.4), rng.between(0.25, 0.5), rng.around(0, 0.25))
        model.ball(at, rng.between(0.28, 0.42), leaf, "crown")
    return Thing("bush", labels.BUSH, frame, tuple(model.parts), 0.65, 0.85)


def rock(rng: Rng, frame: Frame) -> Thing:
    stone = Material(vary(rng, (0.48, 0.46, 0.43)), (0.32, 0.31, 0.30), "grained", 22)
    model = Model(frame)
    w, h = rng.between(0.35, 0.7), rng.between(0.3, 0.55)
    model.ball((0, h * 0.4, 0), (w, h * 0.7, w * 0.8), stone, "stone")
    model.ball((w * 0.45, h * 0.3, 0.1), (w * 0.6, h * 0.5, w * 0.6), stone, "stone")
    return Thing("rock", labels.ROCK, frame, tuple(model.parts), w, h)
