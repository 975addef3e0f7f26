"""How things are painted: the materials that many share, and a colour with the words that are true of it."""

from pipeline.scenes.dice import Dice
from pipeline.scenes.materials import COLOURS, PATTERNS, Material, vary

DARK = Material((0.06, 0.06, 0.07))
STEEL = Material((0.55, 0.57, 0.60), gloss=0.6)
GLASS = Material((0.20, 0.30, 0.38), gloss=0.9)
LAMP = Material((1.0, 0.93, 0.70), gloss=0.3)


def draw_paint(dice: Dice, patterned: bool = False) -> tuple[str, Material, tuple[str, ...]]:
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


def draw_size(dice: Dice, low: float, high: float) -> tuple[float, tuple[str, ...]]:
    """A size, with the adjective that it deserves."""
    at = dice.unit()
    word = ("small",) if at < 0.2 else ("big",) if at > 0.8 else ()
    return low + (high - low) * at, word
