"""The shipped weights of sketch, depth and seg on 500 scenes that they never saw, against the exact truth.

The same scores must notice a wrong map: channels swapped, inverted, mirrored, or shifted by eight pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from t2i_shards.extractors.networks.mini import SEG_LABELS
from t2i_shards.extractors.registry import make_extractor
from t2i_shards.pipeline.scenes import Scene, labels, render
from tests.extractors.metrics.measures import abs_rel, edge_f1, mean_iou

HELD_OUT = 2_000_000
"""Seed of scenes that no training draws from."""
SCENES, FEW = 500, 60
Maps = Sequence[np.ndarray]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return render_scenes(0, FEW)


def render_scenes(first: int, stop: int) -> list[Scene]:
    return [render(HELD_OUT, index) for index in range(first, stop)]


@pytest.fixture(scope="module")
def draw(scenes: list[Scene]) -> Callable[[str], Maps]:
    """condition -> the maps of the few scenes."""
    made: dict[str, Maps] = {}

    def maps(condition: str) -> Maps:
        if condition not in made:
            made[condition] = extract(condition, [scene.picture for scene in scenes])
        return made[condition]

    return maps


def extract(condition: str, pictures: Maps) -> Maps:
    extractor = make_extractor(condition, "mini")
    extractor.load("cpu")
    return [
        condition_map for picture in pictures for condition_map in extractor(np.ascontiguousarray(picture[None]))
    ]


def score(condition: str, maps: Maps, scenes: Sequence[Scene]) -> float:
    if condition == "sketch":
        return edge_f1(maps, [scene.edges for scene in scenes])
    if condition == "depth":
        return abs_rel(maps, [scene.depth for scene in scenes])
    return mean_iou(maps, [scene.labels for scene in scenes])


SKETCH_BAR = 0.91
"""0.80 is what the weights must reach at least; this bar the wrong order of channels misses too, with 0.89. The
right one reaches 0.93."""


def good(condition: str, maps: Maps, scenes: Sequence[Scene]) -> bool:
    """Whether the maps reach the bar."""
    reached = score(condition, maps, scenes)
    return reached <= 0.10 if condition == "depth" else reached >= {"sketch": SKETCH_BAR, "seg": 0.70}[condition]


def spoilt(condition: str, right: Maps, flawed: Maps, scenes: Sequence[Scene]) -> float:
    """By how much the flawed maps are worse than the right ones."""
    loss = score(condition, right, scenes) - score(condition, flawed, scenes)
    return -loss if condition == "depth" else loss


@pytest.mark.soak
@pytest.mark.parametrize("condition", ["sketch", "depth", "seg"])
def test_maps_of_unseen_scenes_are_right(condition, scenes):
    every = scenes + render_scenes(FEW, SCENES)
    assert good(condition, extract(condition, [scene.picture for scene in every]), every)


FLAWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda condition_map: condition_map[:, ::-1],
    "eight pixels to the right": lambda condition_map: np.roll(condition_map, 8, axis=1),
    "eight pixels down": lambda condition_map: np.roll(condition_map, 8, axis=0),
}


@pytest.mark.parametrize("condition", ["sketch", "depth", "seg"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_shifted_map_is_noticed(condition, flaw, draw, scenes):
    right, flawed = draw(condition), [FLAWS[flaw](condition_map) for condition_map in draw(condition)]
    assert not good(condition, flawed, scenes)
    assert spoilt(condition, right, flawed, scenes) > 0.02


def test_an_inverted_depth_map_is_noticed(draw, scenes):
    right, flawed = draw("depth"), [255 - condition_map for condition_map in draw("depth")]
    assert not good("depth", flawed, scenes)
    assert spoilt("depth", right, flawed, scenes) > 0.1


@pytest.mark.parametrize("condition", ["sketch", "depth", "seg"])
def test_the_wrong_order_of_channels_is_noticed(condition, draw, scenes):
    """Depth hardly depends on colour, so there the wrong order need not miss the bar: it must be worse."""
    swapped = extract(condition, [scene.picture[..., ::-1] for scene in scenes])
    assert condition != "sketch" or not good(condition, swapped, scenes)
    assert spoilt(condition, draw(condition), swapped, scenes) > 0.01


def test_the_network_knows_every_label_that_scenes_hold():
    values = [value for name, value in vars(labels).items() if name.isupper()]
    assert sorted(values) == list(SEG_LABELS)
