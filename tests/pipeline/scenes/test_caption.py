"""Captions of scenes are true: what is named is visible, on that side, in that colour."""

import re

import numpy as np

from t2i_shards.pipeline.scenes import Scene, labels, render
from t2i_shards.pipeline.scenes.figure import Looks
from t2i_shards.pipeline.scenes.ground_truth import SEEN
from t2i_shards.pipeline.scenes.layout import draw_layout
from t2i_shards.pipeline.scenes.materials import COLOURS
from tests.pipeline.scenes.conftest import SEED

NOUNS = {
    "cube": labels.SOLID,
    "sphere": labels.SOLID,
    "cylinder": labels.SOLID,
    "cone": labels.SOLID,
    "pyramid": labels.SOLID,
    "ball": labels.SPORTS_BALL,
    "cardboard box": labels.CARDBOARD,
    "suitcase": labels.SUITCASE,
    "chair": labels.CHAIR,
    "table": labels.TABLE,
    "couch": labels.COUCH,
    "bench": labels.BENCH,
    "potted plant": labels.POTTED_PLANT,
    "vase": labels.VASE,
    "floor lamp": labels.LIGHT,
    "umbrella": labels.UMBRELLA,
    "tree": labels.TREE,
    "bush": labels.BUSH,
    "rock": labels.ROCK,
    "car": labels.CAR,
    "stop sign": labels.STOP_SIGN,
    "street sign": labels.STREET_SIGN,
    "traffic light": labels.TRAFFIC_LIGHT,
    "fire hydrant": labels.FIRE_HYDRANT,
    "tent": labels.TENT,
    "house": labels.HOUSE,
    "window": labels.WINDOW,
    "mountains": labels.MOUNTAIN,
    "hills": labels.HILL,
    "tall buildings": labels.SKYSCRAPER,
    "sea": labels.SEA,
    "sky": labels.SKY,
    "grass": labels.GRASS,
    "lawn": labels.GRASS,
    "meadow": labels.GRASS,
    "sand": labels.SAND,
    "snow": labels.SNOW,
    "road": labels.ROAD,
    "street": labels.ROAD,
    "carpet": labels.CARPET,
    "wooden floor": labels.FLOOR_WOOD,
    "brick wall": labels.WALL_BRICK,
}


def test_captions_are_many_and_people_frequent(scenes: list[Scene]) -> None:
    assert len({s.caption for s in scenes}) > 0.97 * len(scenes)
    assert 0.5 < sum(len(s.people.keypoints) > 0 for s in scenes) / len(scenes) < 0.8


def test_everything_named_is_seen(scenes: list[Scene]) -> None:
    for s in scenes:
        present = {int(v) for v, n in zip(*np.unique(s.labels, return_counts=True), strict=True) if n >= 200}
        for noun, label in NOUNS.items():
            if re.search(rf"\b{noun}\b", s.caption) and not re.search(rf"\b{noun} (tree|sign|lamp)", s.caption):
                assert label in present, (noun, s.caption)


def test_people_are_named_if_and_only_if_they_are_seen(scenes: list[Scene]) -> None:
    for s in scenes:
        said = bool(re.search(r"\b(person|people)\b", s.caption))
        assert said == (len(s.people.keypoints) > 0), s.caption
        if said:
            assert (s.labels == labels.PERSON).mean() >= SEEN
        if s.caption.startswith("two people"):
            assert len(s.people.keypoints) == 2


def wardrobe(looks: Looks) -> set[tuple[str, str]]:
    top = looks.top.split()[-1]
    upper = "dress" if looks.legs == "dress" else "shirt"
    return {(top, upper), (looks.bottom.split()[-1], looks.legs), (looks.hat, "hat")}


def test_every_colour_and_word_of_a_caption_is_known_of_the_scene() -> None:
    for index in range(60):
        layout, caption = draw_layout(SEED, index, 64), render(SEED, index, 64).caption
        nouns = "|".join(sorted({t.noun for t in layout.things}, key=len, reverse=True) or ["-"])
        for colour, noun in re.findall(rf"\b({'|'.join(COLOURS)}) ({nouns})\b", caption):
            assert any(t.colour == colour and t.noun == noun for t in layout.things), caption
        garments = "shirt|trousers|shorts|skirt|dress|hat"
        for colour, garment in re.findall(rf"\b({'|'.join(COLOURS)}) ({garments})\b", caption):
            assert any((colour, garment) in wardrobe(person.looks) for person in layout.people), caption


def test_left_and_right_in_captions_are_the_pictures() -> None:
    checked = 0
    for index in range(120):
        caption = render(SEED, index, 64).caption
        one = r"\ban? (?:\w+ )*?(\w+) (\w+)"
        found = re.search(rf"{one} to the (left|right) of {one}(?:,| on| in|$)", caption)
        things = {f"{t.colour} {t.noun}": t.origin for t in draw_layout(SEED, index, 64).things}
        if found is None:
            continue
        colour, noun, side, other_colour, other_noun = found.groups()
        a, b = things.get(f"{colour} {noun}"), things.get(f"{other_colour} {other_noun}")
        if a is None or b is None:
            continue
        assert (a[0] / a[2] < b[0] / b[2]) == (side == "left"), caption
        checked += 1
    assert checked >= 5
