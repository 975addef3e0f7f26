"""Plain solids in every colour, pattern and size."""

from t2i_shards.pipeline.scenes import labels
from t2i_shards.pipeline.scenes.builder import Model, Thing
from t2i_shards.pipeline.scenes.geometry import Frame
from t2i_shards.pipeline.scenes.materials import COLOURS, Material, draw_paint, draw_size
from t2i_shards.pipeline.scenes.rng import Rng


def cube(rng: Rng, frame: Frame) -> Thing:
    name, paint, words = draw_paint(rng, patterned=True)
    size, big = draw_size(rng, 0.4, 1.1)
    model = Model(frame)
    model.box((0, 0, 0), (size, size, size), paint)
    return Thing("cube", labels.SOLID, frame, tuple(model.parts), size * 0.71, size, name, big + words)


def sphere(rng: Rng, frame: Frame) -> Thing:
    name, paint, words = draw_paint(rng, patterned=True)
    r, big = draw_size(rng, 0.25, 0.6)
    model = Model(frame)
    model.ball((0, r, 0), r, paint)
    return Thing("sphere", labels.SOLID, frame, tuple(model.parts), r, 2 * r, name, big + words)


def cylinder(rng: Rng, frame: Frame) -> Thing:
    name, paint, words = draw_paint(rng, patterned=True)
    r, big = draw_size(rng, 0.22, 0.5)
    h = r * rng.between(1.8, 3.2)
    model = Model(frame)
    model.tube((0, 0, 0), (0, h, 0), r, paint)
    return Thing("cylinder", labels.SOLID, frame, tuple(model.parts), r, h, name, big + words)


def cone(rng: Rng, frame: Frame) -> Thing:
    name, paint, words = draw_paint(rng, patterned=True)
    r, big = draw_size(rng, 0.28, 0.55)
    h = r * rng.between(2.2, 3.2)
    model = Model(frame)
    model.tube((0, 0, 0), (0, h, 0), r, paint, top=0.0)
    return Thing("cone", labels.SOLID, frame, tuple(model.parts), r, h, name, big + words)


def pyramid(rng: Rng, frame: Frame) -> Thing:
    name, paint, words = draw_paint(rng, patterned=True)
    size, big = draw_size(rng, 0.6, 1.3)
    model = Model(frame)
    model.box((0, 0, 0), (size, size * 0.85, size), paint, top=(0, 0))
    return Thing("pyramid", labels.SOLID, frame, tuple(model.parts), size * 0.71, size * 0.85, name, big + words)


def ball(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    r, big = draw_size(rng, 0.16, 0.34)
    other = COLOURS["white"] if name != "white" else COLOURS["blue"]
    model = Model(frame)
    model.ball((0, r, 0), r, Material(paint.colour, other, "striped", 1.3 / r, 0.5))
    return Thing("ball", labels.SPORTS_BALL, frame, tuple(model.parts), r, 2 * r, name, big)
