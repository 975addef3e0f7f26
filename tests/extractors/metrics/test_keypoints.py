"""PCK by hand, and where it is undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from t2i_shards.extractors.metrics.keypoints import Found, measure

NOBODY = np.zeros((0, 17, 3), np.float32)


def person(left: float = 0, known: int = 17) -> np.ndarray:
    """Keypoints on a vertical of 160 pixels; all but the first `known` unlabelled."""
    points = np.zeros((17, 3), np.float32)
    points[:known] = np.stack([np.full(17, left), np.linspace(0, 160, 17), np.ones(17)], axis=1)[:known]
    return points


def test_a_keypoint_is_right_within_a_tenth_of_the_longer_side() -> None:
    moved = person()
    moved[:5, 0] += 16
    moved[5:8, 0] += 17
    assert measure([(person()[None], moved[None])]).pck == 14 / 17


def test_one_keypoint_alone_may_be_a_pixel_off() -> None:
    one = person(known=1)
    for away, right in [(0, 1), (1, 1), (1.1, 0)]:
        found = person()
        found[:, 0] += away
        counts = measure([(one[None], found[None])])
        assert (counts.keypoints, counts.right, counts.missed) == (1, right, 0)


def test_points_that_are_unknown_do_not_count() -> None:
    half = person(known=9)
    half[9:, :2] = 1e6
    counts = measure([(half[None], person()[None])])
    assert (counts.keypoints, counts.right) == (9, 9)


def test_a_person_without_labelled_keypoints_does_not_count() -> None:
    true = np.stack([person(known=0), person(300)])
    counts = measure([(true, person(300)[None])])
    assert counts == Found(keypoints=17, right=17, people=1, missed=0, invented=0)


@pytest.mark.parametrize("found", [NOBODY, person()[None]])
def test_without_true_people_the_shares_are_undefined(found: np.ndarray) -> None:
    counts = measure([(NOBODY, found), (person(known=0)[None], found)])
    assert math.isnan(counts.pck)
    assert (counts.people, counts.invented) == (0, 2 * len(found))


def test_a_score_that_is_not_drawn_is_not_found() -> None:
    faint = person()
    faint[0, 2], faint[1, 2] = 0.099, 0.1
    assert measure([(person()[None], faint[None])]).right == 16
