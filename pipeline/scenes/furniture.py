"""Furniture and other objects of rooms."""

from t2i_shards.pipeline.scenes import labels
from t2i_shards.pipeline.scenes.builder import Model, Thing
from t2i_shards.pipeline.scenes.geometry import Frame
from t2i_shards.pipeline.scenes.materials import COLOURS, DARK, STEEL, Material, draw_paint, draw_size, shade, vary
from t2i_shards.pipeline.scenes.rng import Rng


def cardboard_box(rng: Rng, frame: Frame) -> Thing:
    w, h, d = rng.between(0.45, 0.8), rng.between(0.35, 0.7), rng.between(0.4, 0.7)
    card = Material(vary(rng, (0.70, 0.52, 0.33)))
    model = Model(frame)
    model.box((0, 0, 0), (w, h, d), card)
    model.box((0, 0.001, 0), (w * 0.16, h + 0.006, d + 0.006), Material((0.83, 0.72, 0.52)))
    return Thing("cardboard box", labels.CARDBOARD, frame, tuple(model.parts), 0.55, h)


def suitcase(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    model = Model(frame)
    model.box((0, 0.06, 0), (0.46, 0.62, 0.26), paint)
    for x in (-0.13, 0.13):
        model.limb((x, 0.68, 0), (x, 0.92, 0), 0.014, 0.014, STEEL, "handle")
        model.box((x, 0.07, 0), (0.05, 0.60, 0.28), Material(shade(paint.colour, 0.6)), ink="ribs")
        model.ball((x, 0.05, 0), 0.05, DARK)
    model.limb((-0.13, 0.92, 0), (0.13, 0.92, 0), 0.025, 0.025, DARK)
    return Thing("suitcase", labels.SUITCASE, frame, tuple(model.parts), 0.3, 0.94, name)


def chair(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    model = Model(frame)
    for x in (-0.2, 0.2):
        model.limb((x, 0.02, 0.2), (x, 0.45, 0.2), 0.022, 0.026, paint)
        model.limb((x, 0.02, -0.22), (x, 0.98, -0.22), 0.022, 0.024, paint)
    model.box((0, 0.43, 0), (0.48, 0.05, 0.48), paint)
    model.box((0, 0.66, -0.22), (0.42, 0.28, 0.03), paint)
    return Thing("chair", labels.CHAIR, frame, tuple(model.parts), 0.36, 0.98, name)


def table(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    w, d = rng.between(1.0, 1.5), rng.between(0.7, 0.9)
    model = Model(frame)
    for x in (-1, 1):
        for z in (-1, 1):
            foot = (x * (w / 2 - 0.07), 0.0, z * (d / 2 - 0.07))
            model.box(foot, (0.07, 0.72, 0.07), paint, ink=f"leg{x}{z}")
    model.box((0, 0.7, 0), (w, 0.06, d), paint)
    return Thing("table", labels.TABLE, frame, tuple(model.parts), 0.8, 0.76, name)


def couch(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    model = Model(frame)
    cushion = Material(shade(paint.colour, 1.12), gloss=0.05)
    cloth = Material(paint.colour)
    model.box((0, 0.08, 0), (1.7, 0.24, 0.8), cloth)
    for x in (-0.38, 0.38):
        model.box((x, 0.30, 0.05), (0.72, 0.16, 0.68), cushion)
    model.box((0, 0.3, -0.34), (1.6, 0.52, 0.18), cloth)
    for x in (-0.8, 0.8):
        model.box((x, 0.08, 0), (0.18, 0.55, 0.82), cloth)
        model.tube((x, 0.62, -0.43), (x, 0.62, 0.43), 0.1, cloth)
    return Thing("couch", labels.COUCH, frame, tuple(model.parts), 0.95, 0.85, name)


def bench(rng: Rng, frame: Frame) -> Thing:
    name = rng.pick(("brown", "green", "grey", "blue", "white"))
    paint = Material(vary(rng, COLOURS[name]), shade(COLOURS[name], 0.75), "wooden", 40)
    model = Model(frame)
    for x in (-0.62, 0.62):
        model.box((x, 0, 0.14), (0.07, 0.43, 0.07), DARK)
        model.box((x, 0, -0.2), (0.07, 0.85, 0.07), DARK)
    for z in (-0.12, 0.03, 0.18):
        model.box((0, 0.42, z), (1.5, 0.05, 0.12), paint)
    for y in (0.56, 0.72):
        model.box((0, y, -0.16), (1.5, 0.11, 0.04), paint)
    return Thing("bench", labels.BENCH, frame, tuple(model.parts), 0.8, 0.85, name)


def potted_plant(rng: Rng, frame: Frame) -> Thing:
    _, paint, _ = draw_paint(rng)
    h = rng.between(0.5, 0.9)
    leaf = Material(vary(rng, (0.15, 0.48, 0.18)), (0.08, 0.30, 0.10), "grained", 30)
    model = Model(frame)
    model.tube((0, 0.32, 0), (0, 0, 0), 0.2, paint, top=0.7)
    model.tube((0, 0.3, 0), (0, 0.34, 0), 0.22, paint)
    for turn in range(6):
        tip = Frame((0.0, 0.0, 0.0), turn * 60 + rng.around(0, 20)).turn((0, 0, rng.between(0.15, 0.34)))
        top = (tip[0], 0.3 + h * rng.between(0.6, 1.0), tip[2])
        model.limb((0, 0.34, 0), (tip[0] * 0.6, top[1] * 0.8, tip[2] * 0.6), 0.02, 0.05, leaf, "leaf")
        model.limb((tip[0] * 0.6, top[1] * 0.8, tip[2] * 0.6), top, 0.06, 0.015, leaf, "leaf")
    return Thing("potted plant", labels.POTTED_PLANT, frame, tuple(model.parts), 0.32, 0.3 + h)


def vase(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    shiny = Material(paint.colour, gloss=1.0)
    s, big = draw_size(rng, 0.8, 1.5)
    model = Model(frame)
    model.ball((0, 0.24 * s, 0), (0.2 * s, 0.24 * s, 0.2 * s), shiny, "body")
    model.tube((0, 0.40 * s, 0), (0, 0.58 * s, 0), 0.10 * s, shiny, ink="body")
    model.tube((0, 0.56 * s, 0), (0, 0.62 * s, 0), 0.10 * s, shiny, top=1.5, ink="body")
    return Thing("vase", labels.VASE, frame, tuple(model.parts), 0.2 * s, 0.62 * s, name, big)


def floor_lamp(rng: Rng, frame: Frame) -> Thing:
    name, paint, _ = draw_paint(rng)
    model = Model(frame)
    model.tube((0, 0, 0), (0, 0.04, 0), 0.18, DARK)
    model.limb((0, 0.04, 0), (0, 1.3, 0), 0.018, 0.018, DARK)
    screen = Material(shade(paint.colour, 1.1))
    model.tube((0, 1.25, 0), (0, 1.62, 0), 0.26, screen, top=0.6)
    return Thing("floor lamp", labels.LIGHT, frame, tuple(model.parts), 0.26, 1.62, name, (), screen)
