"""Captions: every word is true of the picture, because only what covers enough of it is named."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from t2i_shards.pipeline.scenes.builder import Thing, apart
from t2i_shards.pipeline.scenes.canvas import Canvas
from t2i_shards.pipeline.scenes.figure import Looks, Person
from t2i_shards.pipeline.scenes.ground_truth import SEEN, Visibility
from t2i_shards.pipeline.scenes.layout import Layout
from t2i_shards.pipeline.scenes.materials import PATTERNS, Material
from t2i_shards.pipeline.scenes.rng import Rng
from t2i_shards.pipeline.scenes.setting import article

NAMED = 0.005
"""Share of the picture that a thing must cover to be named."""
WORN = 0.0008
"""Share that a garment, hair or a lamp must cover to be named."""


@dataclass(frozen=True)
class _Seen:
    """An object that is large enough to be named, its materials that are, and the columns that it spans, 0..1."""

    thing: Thing
    left: float
    right: float
    worn: tuple[Material, ...]
    person: Person | None = None
    seat: "_Seen | None" = None

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2

    def shows(self, material: Material) -> bool:
        return any(m is material for m in self.worn)


def _noun(seen: _Seen, rng: Rng) -> str:
    thing = seen.thing
    # A pattern is always said, because its colour alone would be half true.
    words = [w for w in thing.adjectives if w in PATTERNS or rng.chance(0.7)]
    if thing.colour and (thing.paint is None or seen.shows(thing.paint)):
        words.append(thing.colour)
    return article(" ".join([*words, thing.noun]))


def _clothes(seen: _Seen, looks: Looks, rng: Rng) -> str:
    if looks.legs == "dress":
        return f" in {article(looks.top)} dress" if seen.shows(looks.top_material) else ""
    bottom = f"{looks.bottom} {looks.legs}"
    if looks.legs == "skirt":
        bottom = article(bottom)
    top = article(looks.top) + " shirt"
    upper, lower = seen.shows(looks.top_material), seen.shows(looks.bottom_material)
    options = (
        [f" in {top}"] * upper + [f" wearing {bottom}"] * lower + [f" in {top} and {bottom}"] * (upper and lower)
    )
    return rng.pick(options) if options else ""


def _from_behind(person: Person) -> bool:
    """Whether the body clearly faces away from the camera."""
    x, _, z = person.thing.origin
    fx, _, fz = person.thing.frame.front
    return fx * x + fz * z > 0.8 * math.sqrt(x * x + z * z)


def _person(seen: _Seen, person: Person, rng: Rng) -> str:
    """What follows "a person"."""
    looks, words = person.looks, ""
    if rng.chance(0.65):
        words += _clothes(seen, looks, rng)
    if looks.hat and seen.shows(looks.hat_material) and rng.chance(0.5):
        words += f" with {article(looks.hat)} hat"
    elif not looks.hat and seen.shows(looks.hair_material) and rng.chance(0.2):
        words += f" with {looks.hair} hair"
    words += f" {person.pose.said}"
    if seen.seat is not None:
        words += f" on {_noun(seen.seat, rng)}"
    return words + (" seen from behind" if _from_behind(person) and rng.chance(0.6) else "")


def _phrase(seen: _Seen, rng: Rng) -> str:
    if seen.person is None:
        return _noun(seen, rng)
    return "a person" + _person(seen, seen.person, rng)


def _relation(a: _Seen, b: _Seen, rng: Rng) -> str:
    """How a is placed relative to b, as the camera sees them."""
    ahead = b.thing.origin[2] - a.thing.origin[2]
    shared = min(a.right, b.right) - max(a.left, b.left)
    narrow = min(a.right - a.left, b.right - b.left)
    options = []
    if apart(a.thing, b.thing) < 1.0 and abs(ahead) < 0.8:
        options += ["beside", "next to"]
    if shared > 0.1 * narrow and abs(ahead) > 0.4:
        options += ["in front of" if ahead > 0 else "behind"]
    if abs(a.middle - b.middle) > 0.08 and shared < 0.3 * narrow:
        options += ["to the left of" if a.middle < b.middle else "to the right of"]
    return rng.pick(options) if options else "and"


def _subjects(layout: Layout, canvas: Canvas, visibility: Visibility) -> list[_Seen]:
    """People first, then things, the largest first; a seat goes with who sits on it, a window with its wall."""
    people, size = len(layout.people), canvas.camera.size
    named = [n for n, s in enumerate(visibility.shares) if s >= (SEEN if n < people else NAMED)]
    seats = {n: people + layout.seats[n] for n in layout.seats if n in named and people + layout.seats[n] in named}

    def see(n: int) -> _Seen:
        columns = np.flatnonzero((visibility.owner == n).any(axis=0))
        left, right = int(columns[0]) / size, int(columns[-1] + 1) / size
        person = layout.people[n] if n < people else None
        seat = see(seats[n]) if n in seats else None
        return _Seen(layout.all[n], left, right, _materials(canvas, visibility, n), person, seat)

    ranked = sorted(named, key=lambda n: (n >= people, -visibility.shares[n]))
    return [see(n) for n in ranked if n not in seats.values() and layout.all[n].noun != "window"]


def _materials(canvas: Canvas, visibility: Visibility, number: int) -> tuple[Material, ...]:
    """The materials of an object that cover `WORN` of the picture."""
    shares: dict[int, float] = {}
    materials: dict[int, Material] = {}
    for surface, owner, share in zip(canvas.surfaces, canvas.owners, visibility.surface_shares, strict=True):
        if owner == number:
            material = surface.material
            materials[id(material)] = material
            shares[id(material)] = shares.get(id(material), 0.0) + share
    return tuple(materials[i] for i, share in shares.items() if share >= WORN)


def _surroundings(layout: Layout, canvas: Canvas, visibility: Visibility, rng: Rng) -> list[str]:
    setting = layout.setting

    def share(label: int) -> float:
        parts = zip(canvas.surfaces, canvas.owners, visibility.surface_shares, strict=True)
        return sum(part for surface, owner, part in parts if owner < 0 and surface.label == label)

    said = []
    if share(setting.ground.label) > 0.03:
        said.append(rng.pick(setting.on))
    behind = setting.ridge or (setting.band[0] if setting.band else None)
    if setting.by and behind is not None and share(behind.label) > 0.01 and rng.chance(0.7):
        said.append(setting.by)
    if setting.room is not None and share(setting.room.wall.label) > 0.08 and rng.chance(0.7):
        said.append(setting.room.said + _window(layout, visibility))
    if setting.sky is not None and share(canvas.surfaces[0].label) > 0.06 and rng.chance(0.6):
        said.append(setting.sky.said)
    return said


def _window(layout: Layout, visibility: Visibility) -> str:
    seen = any(t.noun == "window" and s >= NAMED for t, s in zip(layout.all, visibility.shares, strict=True))
    return " with a window" if seen else ""


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _everybody(subjects: Sequence[_Seen], counted: bool, rng: Rng) -> tuple[str, list[_Seen]]:
    """The head of the sentence and who is left: two people may be counted, or the first two be related.

    `counted`: no other person is in the picture, not even in part.
    """
    first, *rest = subjects
    people = [s for s in subjects if s.person is not None]
    if counted and len(people) == 2 and rng.chance(0.5):
        one, other = (_person(s, s.person, rng) for s in people if s.person is not None)
        return f"two people, one{one} and one{other}", list(subjects[2:])
    if not rest:
        return _phrase(first, rng), []
    words = f"{_phrase(first, rng)} {_relation(first, rest[0], rng)} {_phrase(rest[0], rng)}"
    return words, rest[1:]


def describe(layout: Layout, canvas: Canvas, visibility: Visibility, rng: Rng) -> str:
    """One sentence without a full stop: people and objects, their relative positions, and the setting."""
    subjects = _subjects(layout, canvas, visibility)
    setting = " ".join(_surroundings(layout, canvas, visibility, rng))
    if not subjects:
        return f"an {'outdoor' if layout.setting.room is None else 'indoor'} place {setting}".strip()
    counted = sum(share > 0 for share in visibility.shares[: len(layout.people)]) == 2
    words, rest = _everybody(subjects, counted, rng)
    others = [_phrase(s, rng) for s in rest[: 1 + rng.pick((0, 1, 2))]]
    if others and rng.chance(0.75):
        words += f", with {_join(others)}"
    if setting and rng.chance(0.25):
        return f"{setting}, {words}"
    opening = rng.weigh({"": 7.0, "a picture of ": 1.0, "a view of ": 0.6})
    return f"{opening}{words} {setting}".strip()
