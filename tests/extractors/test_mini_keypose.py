"""The shipped weights of keypose, variant mini, on scenes that no training draws from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from t2i_shards.extractors.keypose import Keypose
from t2i_shards.extractors.maps.people import People
from t2i_shards.extractors.metrics.keypoints import Found, measure
from t2i_shards.extractors.registry import make_extractor
from t2i_shards.pipeline.scenes import Scene, render

HELD_OUT = 2_000_000
"""Seed of scenes that no training draws from."""
SCENES, FEWER = 500, 250
BAR = 0.85
INVENTED = 0.1
"""People that may be seen where nobody is, and people seen twice, as a share of all people."""
MIRRORED = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])


@pytest.fixture(scope="module")
def mini() -> Keypose:
    extractor = make_extractor("keypose", "mini")
    extractor.load("cpu")
    assert isinstance(extractor, Keypose)
    return extractor


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return render_scenes(0, FEWER)


def render_scenes(first: int, stop: int) -> list[Scene]:
    return [render(HELD_OUT, index) for index in range(first, stop)]


@pytest.fixture(scope="module")
def people(mini: Keypose, scenes: Sequence[Scene]) -> list[People]:
    return find(mini, [scene.picture for scene in scenes])


def find(extractor: Keypose, pictures: Sequence[np.ndarray]) -> list[People]:
    return [found for picture in pictures for found in extractor(np.ascontiguousarray(picture[None]))]


def compare(scenes: Sequence[Scene], keypoints: Sequence[np.ndarray]) -> Found:
    return measure((scene.people.keypoints, points) for scene, points in zip(scenes, keypoints, strict=True))


def test_people_of_unseen_scenes_are_found(scenes: list[Scene], people: list[People]) -> None:
    assert_found(scenes, people)


@pytest.mark.soak
def test_people_of_more_unseen_scenes_are_found(mini: Keypose, scenes: list[Scene], people: list[People]) -> None:
    more = render_scenes(FEWER, SCENES)
    assert_found(scenes + more, people + find(mini, [scene.picture for scene in more]))


def assert_found(scenes: Sequence[Scene], people: Sequence[People]) -> None:
    found = compare(scenes, [p.keypoints for p in people])
    assert found.people > 0.8 * len(scenes)
    assert found.pck >= BAR, found
    assert found.invented / found.people <= INVENTED, found


def sideways(points: np.ndarray) -> np.ndarray:
    return points + np.float32([8, 0, 0])


def downwards(points: np.ndarray) -> np.ndarray:
    return points + np.float32([0, 8, 0])


def left_for_right(points: np.ndarray) -> np.ndarray:
    return points[:, MIRRORED]


@pytest.mark.parametrize("flaw", [sideways, downwards, left_for_right])
def test_shifted_keypoints_are_noticed(
    flaw: Callable[[np.ndarray], np.ndarray], scenes: list[Scene], people: list[People]
) -> None:
    assert compare(scenes, [flaw(p.keypoints) for p in people]).pck < BAR


@pytest.mark.soak
def test_the_wrong_order_of_channels_is_noticed(mini: Keypose, scenes: list[Scene]) -> None:
    assert compare(scenes, [p.keypoints for p in find(mini, [s.picture[..., ::-1] for s in scenes])]).pck < BAR


def test_measure_counts_what_is_missed_and_what_is_invented() -> None:
    points = np.zeros((2, 17, 3))
    points[0, :, :2] = np.random.default_rng(0).uniform(0, 100, (17, 2))
    points[..., 2] = 1
    points[1, :, :2] = points[0, :, :2] + 300
    side = np.ptp(points[0, :, :2], axis=0).max()

    def of(*found: Any) -> tuple[int, int, int]:
        result = measure([(points, np.array(found).reshape(-1, 17, 3))])
        assert (result.keypoints, result.people) == (34, 2)
        return result.right, result.missed, result.invented

    assert of(*points) == (34, 0, 0)
    assert of(points[1], points[0]) == (34, 0, 0)
    assert of() == (0, 2, 0)
    assert of(points[0]) == (17, 1, 0)
    assert of(*points, points[0]) == (34, 0, 1)
    assert of(points[0] + 1000) == (0, 2, 1)
    step = np.array([side, 0, 0])
    assert of(*(points + 0.09 * step)) == (34, 0, 0)
    assert of(*(points + 0.11 * step)) == (0, 0, 0)
    assert of(*(points * [1, 1, 0.05])) == (0, 0, 0)


def test_blank_pictures_have_no_people(mini: Keypose) -> None:
    shades = np.arange(0, 256, 51, dtype=np.uint8)
    blank = np.repeat(shades, 64 * 128 * 3).reshape(-1, 64, 128, 3)
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 64, 3), np.uint8)
    assert [len(p) for pictures in (blank, noise) for p in mini(pictures)] == [0] * 8


def test_larger_pictures_are_seen_alike(mini: Keypose) -> None:
    """The same scenes rendered at 512: keypoints at twice the place."""
    twice = [render(HELD_OUT, index, 512) for index in range(20)]
    found = compare(twice, [p.keypoints for p in find(mini, [scene.picture for scene in twice])])
    assert found.pck >= BAR - 0.1, found
