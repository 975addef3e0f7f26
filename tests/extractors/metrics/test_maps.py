"""The measures by hand, on maps small enough to count on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from t2i_shards.extractors.metrics.maps import thin
from tests.extractors.metrics.measures import abs_rel, color_error, edge_f1, mean_iou


def line(column: int, rows: int = 40) -> np.ndarray:
    condition_map = np.zeros((40, 40), np.uint8)
    condition_map[:rows, column] = 255
    return condition_map


@pytest.mark.parametrize(("away", "score"), [(0, 1.0), (2, 1.0), (3, 0.0), (-3, 0.0)])
def test_an_edge_may_lie_two_pixels_off(away: int, score: float) -> None:
    assert edge_f1([line(20 + away)], [line(20)]) == pytest.approx(score)


def test_f1_counts_pixels_of_all_pictures_together() -> None:
    # Found 40 + 0, all right; there are 40 + 40, half of them found: precision 1, recall 1/2.
    assert edge_f1([line(20), line(0, 0)], [line(20), line(20)]) == pytest.approx(2 / 3)


def test_measures_of_nothing_against_nothing_are_undefined() -> None:
    empty = line(0, 0)
    assert math.isnan(edge_f1([empty], [empty]))
    assert edge_f1([empty, line(20)], [empty, line(20)]) == 1
    assert edge_f1([line(20)], [empty]) == 0
    far = np.full((8, 8), 1000.0)
    assert math.isnan(abs_rel([far], [far]))
    near = np.linspace(1, 20, 64).reshape(8, 8)
    assert abs_rel([far, 1 / near], [far, near]) == pytest.approx(0, abs=1e-9)
    assert math.isnan(color_error([], []))


def test_thinning_leaves_a_line_of_one_pixel() -> None:
    thick = np.zeros((40, 40), np.uint8)
    thick[5:35, 18:23] = 200
    thinned = thin(thick)
    assert set(np.unique(thinned)) == {0, 255}
    assert (thinned[10:30] > 0).sum(axis=1).tolist() == [1] * 20
    assert not thin(np.full((9, 9), 127, np.uint8)).any()


def test_depth_does_not_depend_on_scale_and_shift() -> None:
    metres = np.linspace(1, 20, 400).reshape(20, 20)
    assert abs_rel([3 / metres + 7], [metres]) == pytest.approx(0, abs=1e-9)
    # Near for far is not a matter of scale: the best that is left is one distance for all.
    flat = float((np.abs(1 / (1 / metres).mean() - metres) / metres).mean())
    assert abs_rel([-3 / metres], [metres]) == pytest.approx(flat)


def test_iou_is_the_mean_over_the_classes_of_the_truth() -> None:
    truth = np.uint8([[1, 1, 2, 2]])
    # Class 1: 1 of 2; class 2: 2 of 3. What the truth does not label does not count, whatever was found there.
    assert mean_iou([np.uint8([[1, 2, 2, 2]])], [truth]) == pytest.approx((1 / 2 + 2 / 3) / 2)
    unlabelled = np.uint8([[1, 1, 2, 2, 255]])
    assert mean_iou([np.uint8([[1, 2, 2, 2, 1]])], [unlabelled]) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_colour_error_is_a_share_of_the_range() -> None:
    cells = np.full((2, 3, 3), 100, np.uint8)
    other = cells.copy()
    other[0] += 51
    assert color_error([other, cells], [cells, cells]) == pytest.approx(51 / 255 / 4)
    assert color_error([cells], [other]) == pytest.approx(51 / 255 / 2)
