"""Plants and rocks."""

from t2i_shards.pipeline.scenes import labels
from t2i_shards.pipeline.scenes.builder import Model, Thing
from t2i_shards.pipeline.scenes.geometry import Frame
from t2i_shards.pipeline.scenes.materials import Material, vary
from t2i_shards.pipeline.scenes.rng import Rng

BARK = Material((0.36, 0.24, 0.14), (0.22, 0.14, 0.08), "wooden", 60)


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
