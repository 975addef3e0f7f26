"""The catalogue of objects: each builder stands one on the ground at its frame and says what it is."""

from collections.abc import Callable

from pipeline.sources.scenes import labels
from pipeline.sources.scenes.dice import Dice
from pipeline.sources.scenes.geometry import Frame, Vector
from pipeline.sources.scenes.materials import COLOURS, PATTERNS, Material, shade, vary
from pipeline.sources.scenes.model import Model, Thing

DARK = Material((0.06, 0.06, 0.07))
STEEL = Material((0.55, 0.57, 0.60), gloss=0.6)
GLASS = Material((0.20, 0.30, 0.38), gloss=0.9)
BARK = Material((0.36, 0.24, 0.14), (0.22, 0.14, 0.08), "wooden", 60)
LAMP = Material((1.0, 0.93, 0.70), gloss=0.3)

Builder = Callable[[Dice, Frame], Thing]


def _paint(dice: Dice, patterned: bool = False) -> tuple[str, Material, tuple[str, ...]]:
    """(name of a colour, a material of it, adjectives that are true of it)."""
    name = dice.pick(list(COLOURS))
    colour = vary(dice, COLOURS[name])
    if patterned and dice.chance(0.35):
        pattern = dice.pick(PATTERNS)
        other = COLOURS["white"] if name not in ("white", "yellow") else COLOURS["black"]
        return name, Material(colour, other, pattern, dice.between(4, 6)), (pattern,)
    if dice.chance(0.25):
        return name, Material(colour, gloss=1.0), ("shiny",)
    return name, Material(colour, gloss=0.15), ()


def _sized(dice: Dice, low: float, high: float) -> tuple[float, tuple[str, ...]]:
    """A size, with the adjective that it deserves."""
    at = dice.unit()
    word = ("small",) if at < 0.2 else ("big",) if at > 0.8 else ()
    return low + (high - low) * at, word


def cube(dice: Dice, frame: Frame) -> Thing:
    name, paint, words = _paint(dice, patterned=True)
    size, big = _sized(dice, 0.4, 1.1)
    model = Model(frame)
    model.box((0, 0, 0), (size, size, size), paint)
    return Thing("cube", labels.SOLID, frame, tuple(model.parts), size * 0.71, size, name, big + words)


def sphere(dice: Dice, frame: Frame) -> Thing:
    name, paint, words = _paint(dice, patterned=True)
    r, big = _sized(dice, 0.25, 0.6)
    model = Model(frame)
    model.ball((0, r, 0), r, paint)
    return Thing("sphere", labels.SOLID, frame, tuple(model.parts), r, 2 * r, name, big + words)


def cylinder(dice: Dice, frame: Frame) -> Thing:
    name, paint, words = _paint(dice, patterned=True)
    r, big = _sized(dice, 0.22, 0.5)
    h = r * dice.between(1.8, 3.2)
    model = Model(frame)
    model.tube((0, 0, 0), (0, h, 0), r, paint)
    return Thing("cylinder", labels.SOLID, frame, tuple(model.parts), r, h, name, big + words)


def cone(dice: Dice, frame: Frame) -> Thing:
    name, paint, words = _paint(dice, patterned=True)
    r, big = _sized(dice, 0.28, 0.55)
    h = r * dice.between(2.2, 3.2)
    model = Model(frame)
    model.tube((0, 0, 0), (0, h, 0), r, paint, top=0.0)
    return Thing("cone", labels.SOLID, frame, tuple(model.parts), r, h, name, big + words)


def pyramid(dice: Dice, frame: Frame) -> Thing:
    name, paint, words = _paint(dice, patterned=True)
    size, big = _sized(dice, 0.6, 1.3)
    model = Model(frame)
    model.box((0, 0, 0), (size, size * 0.85, size), paint, top=(0, 0))
    return Thing("pyramid", labels.SOLID, frame, tuple(model.parts), size * 0.71, size * 0.85, name, big + words)


def ball(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    r, big = _sized(dice, 0.16, 0.34)
    other = COLOURS["white"] if name != "white" else COLOURS["blue"]
    model = Model(frame)
    model.ball((0, r, 0), r, Material(paint.colour, other, "striped", 1.3 / r, 0.5))
    return Thing("ball", labels.SPORTS_BALL, frame, tuple(model.parts), r, 2 * r, name, big)


def cardboard_box(dice: Dice, frame: Frame) -> Thing:
    w, h, d = dice.between(0.45, 0.8), dice.between(0.35, 0.7), dice.between(0.4, 0.7)
    card = Material(vary(dice, (0.70, 0.52, 0.33)))
    model = Model(frame)
    model.box((0, 0, 0), (w, h, d), card)
    model.box((0, 0.001, 0), (w * 0.16, h + 0.006, d + 0.006), Material((0.83, 0.72, 0.52)))
    return Thing("cardboard box", labels.CARDBOARD, frame, tuple(model.parts), 0.55, h)


def suitcase(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    model = Model(frame)
    model.box((0, 0.06, 0), (0.46, 0.62, 0.26), paint)
    for x in (-0.13, 0.13):
        model.limb((x, 0.68, 0), (x, 0.92, 0), 0.014, 0.014, STEEL, "handle")
        model.box((x, 0.07, 0), (0.05, 0.60, 0.28), Material(shade(paint.colour, 0.6)), ink="ribs")
        model.ball((x, 0.05, 0), 0.05, DARK)
    model.limb((-0.13, 0.92, 0), (0.13, 0.92, 0), 0.025, 0.025, DARK)
    return Thing("suitcase", labels.SUITCASE, frame, tuple(model.parts), 0.3, 0.94, name)


def chair(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    model = Model(frame)
    for x in (-0.2, 0.2):
        model.limb((x, 0.02, 0.2), (x, 0.45, 0.2), 0.022, 0.026, paint)
        model.limb((x, 0.02, -0.22), (x, 0.98, -0.22), 0.022, 0.024, paint)
    model.box((0, 0.43, 0), (0.48, 0.05, 0.48), paint)
    model.box((0, 0.66, -0.22), (0.42, 0.28, 0.03), paint)
    return Thing("chair", labels.CHAIR, frame, tuple(model.parts), 0.36, 0.98, name)


def table(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    w, d = dice.between(1.0, 1.5), dice.between(0.7, 0.9)
    model = Model(frame)
    for x in (-1, 1):
        for z in (-1, 1):
            foot = (x * (w / 2 - 0.07), 0.0, z * (d / 2 - 0.07))
            model.box(foot, (0.07, 0.72, 0.07), paint, ink=f"leg{x}{z}")
    model.box((0, 0.7, 0), (w, 0.06, d), paint)
    return Thing("table", labels.TABLE, frame, tuple(model.parts), 0.8, 0.76, name)


def couch(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    model = Model(frame)
    cushion = Material(shade(paint.colour, 1.12), gloss=0.05)
    cloth = Material(paint.colour)
    model.box((0, 0.08, 0), (1.7, 0.24, 0.8), cloth)
    for x in (-0.38, 0.38):
        model.box((x, 0.30, 0.05), (0.72, 0.16, 0.68), cushion)
    model.box((0, 0.3, -0.34), (1.6, 0.52, 0.18), cloth)
    for x in (-0.8, 0.8):
        model.box((x, 0.08, 0), (0.18, 0.55, 0.8), cloth)
        model.tube((x, 0.62, -0.4), (x, 0.62, 0.4), 0.1, cloth)
    return Thing("couch", labels.COUCH, frame, tuple(model.parts), 0.95, 0.85, name)


def bench(dice: Dice, frame: Frame) -> Thing:
    name = dice.pick(("brown", "green", "grey", "blue", "white"))
    paint = Material(vary(dice, COLOURS[name]), shade(COLOURS[name], 0.75), "wooden", 40)
    model = Model(frame)
    for x in (-0.62, 0.62):
        model.box((x, 0, 0.14), (0.07, 0.43, 0.07), DARK)
        model.box((x, 0, -0.2), (0.07, 0.85, 0.07), DARK)
    for z in (-0.12, 0.03, 0.18):
        model.box((0, 0.42, z), (1.5, 0.05, 0.12), paint)
    for y in (0.56, 0.72):
        model.box((0, y, -0.16), (1.5, 0.11, 0.04), paint)
    return Thing("bench", labels.BENCH, frame, tuple(model.parts), 0.8, 0.85, name)


def potted_plant(dice: Dice, frame: Frame) -> Thing:
    _, paint, _ = _paint(dice)
    h = dice.between(0.5, 0.9)
    leaf = Material(vary(dice, (0.15, 0.48, 0.18)), (0.08, 0.30, 0.10), "grained", 30)
    model = Model(frame)
    model.tube((0, 0.32, 0), (0, 0, 0), 0.2, paint, top=0.7)
    model.tube((0, 0.3, 0), (0, 0.34, 0), 0.22, paint)
    for turn in range(6):
        tip = Frame((0.0, 0.0, 0.0), turn * 60 + dice.around(0, 20)).turn((0, 0, dice.between(0.15, 0.34)))
        top = (tip[0], 0.3 + h * dice.between(0.6, 1.0), tip[2])
        model.limb((0, 0.34, 0), (tip[0] * 0.6, top[1] * 0.8, tip[2] * 0.6), 0.02, 0.05, leaf, "leaf")
        model.limb((tip[0] * 0.6, top[1] * 0.8, tip[2] * 0.6), top, 0.06, 0.015, leaf, "leaf")
    return Thing("potted plant", labels.POTTED_PLANT, frame, tuple(model.parts), 0.32, 0.3 + h)


def vase(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    shiny = Material(paint.colour, gloss=1.0)
    s, big = _sized(dice, 0.8, 1.5)
    model = Model(frame)
    model.ball((0, 0.24 * s, 0), (0.2 * s, 0.24 * s, 0.2 * s), shiny, "body")
    model.tube((0, 0.40 * s, 0), (0, 0.58 * s, 0), 0.10 * s, shiny, ink="body")
    model.tube((0, 0.56 * s, 0), (0, 0.62 * s, 0), 0.10 * s, shiny, top=1.5, ink="body")
    return Thing("vase", labels.VASE, frame, tuple(model.parts), 0.2 * s, 0.62 * s, name, big)


def floor_lamp(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    model = Model(frame)
    model.tube((0, 0, 0), (0, 0.04, 0), 0.18, DARK)
    model.limb((0, 0.04, 0), (0, 1.3, 0), 0.018, 0.018, DARK)
    model.tube((0, 1.25, 0), (0, 1.62, 0), 0.26, Material(shade(paint.colour, 1.1)), top=0.6)
    return Thing("floor lamp", labels.LIGHT, frame, tuple(model.parts), 0.26, 1.62, name)


def umbrella(dice: Dice, frame: Frame) -> Thing:
    """An open one on its stand."""
    name, paint, _ = _paint(dice)
    model = Model(frame)
    model.tube((0, 0, 0), (0, 0.07, 0), 0.25, DARK)
    model.limb((0, 0, 0), (0, 2.2, 0), 0.025, 0.02, STEEL)
    model.tube((0, 1.75, 0), (0, 2.2, 0), 0.95, Material(paint.colour, gloss=0.1), top=0.03)
    return Thing("umbrella", labels.UMBRELLA, frame, tuple(model.parts), 0.6, 2.2, name, ("open",))


def tree(dice: Dice, frame: Frame) -> Thing:
    """A broad-leaved one."""
    h = dice.between(2.6, 4.2)
    leaf = Material(vary(dice, (0.20, 0.47, 0.14)), (0.08, 0.26, 0.07), "grained", 25)
    model = Model(frame)
    model.limb((0, 0, 0), (0, h * 0.55, 0), 0.13, 0.09, BARK)
    for _ in range(6):
        at = (dice.around(0, 0.55), h * dice.between(0.58, 0.85), dice.around(0, 0.45))
        model.ball(at, dice.between(0.45, 0.75), leaf, "crown")
    return Thing("tree", labels.TREE, frame, tuple(model.parts), 0.8, h)


def pine(dice: Dice, frame: Frame) -> Thing:
    h = dice.between(2.4, 4.2)
    needle = Material(vary(dice, (0.10, 0.34, 0.18)), (0.05, 0.20, 0.10), "grained", 25)
    model = Model(frame)
    model.limb((0, 0, 0), (0, h * 0.3, 0), 0.11, 0.1, BARK)
    for low, high, r in ((0.16, 0.55, 0.85), (0.38, 0.78, 0.66), (0.6, 1.0, 0.46)):
        model.tube((0, h * low, 0), (0, h * high, 0), r, needle, top=0.02)
    return Thing("pine tree", labels.TREE, frame, tuple(model.parts), 0.75, h)


def bush(dice: Dice, frame: Frame) -> Thing:
    leaf = Material(vary(dice, (0.22, 0.45, 0.15)), (0.08, 0.25, 0.07), "grained", 30)
    model = Model(frame)
    for _ in range(5):
        at = (dice.around(0, 0.4), dice.between(0.25, 0.5), dice.around(0, 0.25))
        model.ball(at, dice.between(0.28, 0.42), leaf, "crown")
    return Thing("bush", labels.BUSH, frame, tuple(model.parts), 0.65, 0.85)


def rock(dice: Dice, frame: Frame) -> Thing:
    stone = Material(vary(dice, (0.48, 0.46, 0.43)), (0.32, 0.31, 0.30), "grained", 22)
    model = Model(frame)
    w, h = dice.between(0.35, 0.7), dice.between(0.3, 0.55)
    model.ball((0, h * 0.4, 0), (w, h * 0.7, w * 0.8), stone, "stone")
    model.ball((w * 0.45, h * 0.3, 0.1), (w * 0.6, h * 0.5, w * 0.6), stone, "stone")
    return Thing("rock", labels.ROCK, frame, tuple(model.parts), w, h)


def car(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
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


def stop_sign(dice: Dice, frame: Frame) -> Thing:
    h = dice.between(1.7, 2.2)
    model = Model(frame)
    model.limb((0, 0, -0.05), (0, h, -0.05), 0.03, 0.03, STEEL)
    model.plate((0, h, 0), 0.36, 0.02, 8, Material((0.92, 0.92, 0.92)))
    model.plate((0, h, 0.012), 0.32, 0.02, 8, Material((0.78, 0.08, 0.09), gloss=0.2))
    model.box((0, h - 0.05, 0.02), (0.42, 0.10, 0.02), Material((0.94, 0.94, 0.94)))
    return Thing("stop sign", labels.STOP_SIGN, frame, tuple(model.parts), 0.36, h + 0.36)


def street_sign(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    h = dice.between(1.8, 2.3)
    model = Model(frame)
    model.limb((0, 0, 0), (0, h, 0), 0.03, 0.03, STEEL)
    model.box((0, h, 0), (0.9, 0.34, 0.04), Material((0.92, 0.92, 0.92)))
    model.box((0, h + 0.03, 0), (0.84, 0.28, 0.06), Material(paint.colour))
    return Thing("street sign", labels.STREET_SIGN, frame, tuple(model.parts), 0.45, h + 0.34, name)


def traffic_light(dice: Dice, frame: Frame) -> Thing:
    lit = dice.pick((0, 1, 2))
    model = Model(frame)
    model.limb((0, 0, -0.12), (0, 2.6, -0.12), 0.05, 0.04, STEEL)
    model.box((0, 1.75, 0), (0.3, 0.86, 0.2), DARK)
    lamps: tuple[Vector, ...] = ((0.95, 0.10, 0.08), (0.98, 0.75, 0.08), (0.10, 0.85, 0.30))
    for i, lamp in enumerate(lamps):
        colour = lamp if i == lit else shade(lamp, 0.22)
        model.ball((0, 2.46 - i * 0.27, 0.1), (0.1, 0.1, 0.05), Material(colour, gloss=0.5))
    word = ("red", "yellow", "green")[lit]
    return Thing("traffic light", labels.TRAFFIC_LIGHT, frame, tuple(model.parts), 0.25, 2.6, word)


def fire_hydrant(dice: Dice, frame: Frame) -> Thing:
    name = dice.pick(("red", "yellow", "blue"))
    paint = Material(vary(dice, COLOURS[name]), gloss=0.4)
    model = Model(frame)
    model.tube((0, 0, 0), (0, 0.08, 0), 0.2, paint)
    model.tube((0, 0.08, 0), (0, 0.6, 0), 0.14, paint)
    model.ball((0, 0.62, 0), 0.16, paint)
    model.tube((-0.24, 0.45, 0), (0.24, 0.45, 0), 0.07, paint)
    model.tube((0, 0.4, 0.1), (0, 0.4, 0.22), 0.09, paint)
    model.tube((0, 0.74, 0), (0, 0.84, 0), 0.05, paint)
    return Thing("fire hydrant", labels.FIRE_HYDRANT, frame, tuple(model.parts), 0.25, 0.84, name)


def tent(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    model = Model(frame)
    model.box((0, 0, 0), (2.2, 1.4, 2.2), Material(paint.colour), top=(0, 1.0))
    model.box((0, 0.0, 1.09), (0.9, 1.0, 0.04), Material(shade(paint.colour, 0.35)), top=(0, 1.0))
    return Thing("tent", labels.TENT, frame, tuple(model.parts), 1.3, 1.4, name)


def house(dice: Dice, frame: Frame) -> Thing:
    name, paint, _ = _paint(dice)
    model = Model(frame)
    roof = Material((0.55, 0.22, 0.16) if name not in ("red", "orange", "brown") else (0.28, 0.28, 0.32))
    model.box((0, 0, 0), (5.0, 2.8, 4.0), Material(paint.colour))
    model.box((0, 2.8, 0), (5.5, 1.7, 4.6), roof, top=(0.75, 0.0))
    model.box((0, 0, 2.0), (0.9, 2.0, 0.1), Material((0.30, 0.18, 0.10)))
    for x in (-1.6, 1.6):
        model.box((x, 1.0, 2.0), (1.1, 1.1, 0.08), Material((0.95, 0.95, 0.93)))
        model.box((x, 1.08, 2.0), (0.94, 0.94, 0.12), GLASS)
    return Thing("house", labels.HOUSE, frame, tuple(model.parts), 3.0, 4.5, name)


ANYWHERE: dict[Builder, float] = {cube: 3, sphere: 2.5, cylinder: 2, cone: 2, pyramid: 1.5, ball: 2}
INDOORS: dict[Builder, float] = {
    **ANYWHERE,
    cardboard_box: 1,
    suitcase: 1,
    chair: 2.5,
    table: 1.5,
    couch: 1.2,
    potted_plant: 2,
    vase: 1.3,
    floor_lamp: 1.3,
}
COUNTRY: dict[Builder, float] = {
    **ANYWHERE,
    tree: 4,
    pine: 3,
    bush: 2.5,
    rock: 2,
    bench: 2,
    tent: 1.2,
    car: 1,
    house: 1,
}
BEACH: dict[Builder, float] = {**ANYWHERE, umbrella: 4, rock: 2, chair: 1, tent: 1, ball: 3, suitcase: 0.5}
TOWN: dict[Builder, float] = {
    **ANYWHERE,
    car: 4,
    bench: 2,
    tree: 2,
    stop_sign: 2,
    street_sign: 1.5,
    traffic_light: 2,
    fire_hydrant: 2,
    suitcase: 0.8,
    cardboard_box: 0.6,
    house: 1,
}
FAR: tuple[Builder, ...] = (house, tree, pine, car, tent)
