"""The simple world of the scenes: what may be in it, and that a dataset says which world it shows."""

import re
from collections import Counter

import numpy as np
import pytest

from t2i_shards.extractors.maps.people import LEFT_ANKLE, RIGHT_ANKLE
from t2i_shards.pipeline.scenes import labels, render
from t2i_shards.pipeline.scenes.simple import OFFERS, draw_simple_layout
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.scenes import ScenesSource
from tests.pipeline.scenes.test_scenes import digest

SEED, COUNT, SIZE = 11, 120, 64
GROUNDS = {labels.GRASS, labels.SAND, labels.SNOW, labels.DIRT, labels.ROAD, labels.PAVEMENT}
THINGS = {labels.PERSON, labels.SOLID, labels.SPORTS_BALL, labels.BUSH, labels.CAR, labels.TENT, labels.CHAIR}
DIGESTS = {(0, 0): "8630f77517384e8f", (7, 123456789): "8396d7a1bad3526e"}


@pytest.mark.parametrize("key", DIGESTS)
def test_a_scene_is_the_same_bits_on_every_machine(key: tuple[int, int]) -> None:
    assert digest(render(*key, 64, "simple")) == DIGESTS[key]


def test_one_ground_one_sky_and_few_objects() -> None:
    for index in range(COUNT):
        layout = draw_simple_layout(SEED, index, SIZE)
        assert layout.setting.sky is not None
        assert layout.setting.band is layout.setting.ridge is layout.setting.room is None
        assert len(layout.people) <= 1
        assert len(layout.things) <= 3
        seen = set(np.unique(render(SEED, index, SIZE, "simple").labels).tolist())
        assert seen <= {labels.SKY, layout.setting.ground.label} | THINGS
        assert layout.setting.ground.label in GROUNDS


def test_a_person_is_whole_and_fills_a_third_of_the_height() -> None:
    people = 0
    for index in range(COUNT):
        rows = np.flatnonzero((render(SEED, index, SIZE, "simple").labels == labels.PERSON).any(axis=1))
        for person in draw_simple_layout(SEED, index, SIZE).people:
            people += 1
            assert len(rows) >= SIZE * 0.3  # bent knees and a raised camera take a little
            feet = person.joints[[LEFT_ANKLE, RIGHT_ANKLE], 2]
            assert feet.max() < 6
    assert 0.4 < people / COUNT < 0.7


def test_captions_name_the_world_and_nothing_else() -> None:
    said = Counter(word for index in range(COUNT) for word in re.findall("[a-z]+", caption(index)))
    assert not {"wall", "floor", "night", "mountains", "hills", "sea", "buildings", "sitting", "two"} & set(said)
    assert said["person"] > 0.4 * COUNT
    assert sum(said[noun] for noun in ("cube", "sphere", "cylinder", "cone", "pyramid", "ball", "car")) > COUNT


def caption(index: int) -> str:
    return render(SEED, index, SIZE, "simple").caption


def test_everything_offered_occurs() -> None:
    nouns = {thing.noun for index in range(300) for thing in draw_simple_layout(SEED, index, SIZE).things}
    assert len(nouns) == len(OFFERS)


def test_a_dataset_says_which_world_it_shows() -> None:
    full, simple = ScenesSource(3, 7), ScenesSource(3, 7, "simple")
    assert full.describe() == {"kind": "scenes", "version": 1, "samples": 3, "seed": 7}
    assert simple.describe() == {**full.describe(), "world": "simple"}
    settings = [row.location for source in (full, simple) for row in source.rows(LeftOut())]
    assert len(set(settings)) == 6
    row = next(iter(simple.rows(LeftOut())))
    with simple.gather([row], SIZE, None) as opener:  # type: ignore[arg-type]
        original = opener(row)
    scene = render(7, 0, SIZE, "simple")
    assert np.array_equal(original.content, scene.picture)
    assert original.captions == (scene.caption,)
    assert np.array_equal(original.truth["seg"](None), scene.labels)
