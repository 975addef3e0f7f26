"""COCO's people follow their picture when it is resized and cut."""

from __future__ import annotations

import numpy as np
import pytest

from t2i_shards.extractors.maps.people import People
from t2i_shards.pipeline.image.geometry import Geometry, Placement
from t2i_shards.pipeline.sources.coco.truth import place_people

SAME = Placement((100, 80), (100, 80), (0, 0, 100, 80))


def person(*points: tuple[float, float, float]) -> list[float]:
    """51 numbers: these points, the rest not labelled."""
    return [float(n) for point in (*points, *[(0, 0, 0)] * (17 - len(points))) for n in point]


def placed(people: list[list[float]], placement: Placement = SAME) -> list[list[list[float]]]:
    """The labelled points of each person, as [number of the point, x, y, score]."""
    found = place_people(people, placement)
    assert (found.height, found.width) == (placement.crop[3], placement.crop[2])
    return [[[n, *map(float, p)] for n, p in enumerate(points) if p.any()] for points in found.keypoints]


def test_points_are_moved_with_resize_and_crop() -> None:
    placement = Placement((640, 480), (341, 256), (10, 0, 320, 256))
    assert placed([person((320, 240, 2), (64, 48, 1))], placement) == [
        [[0, 160.5, 128.0, 1.0], [1, pytest.approx(24.1), pytest.approx(25.6), 0.5]]
    ]


def test_points_lie_on_what_they_point_at() -> None:
    from t2i_shards.pipeline.image.geometry import apply_placement

    for size in ((640, 480), (333, 500), (171, 200), (1021, 767)):
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        x, y = size[0] // 2 - 30, size[1] // 2 + 20
        picture[y - 3 : y + 4, x - 3 : x + 4] = 255
        placement = Geometry(256).place(*size)
        stored = apply_placement(picture, placement)[..., 0] > 127
        ys, xs = np.nonzero(stored)
        point = place_people([person((x, y, 2))], placement).keypoints[0, 0]
        scale = placement.resized[0] / size[0]
        # Half a pixel of the original lies between a pixel's number and its centre.
        assert abs(point[0] + scale / 2 - (xs.mean() + 0.5)) < 0.6
        assert abs(point[1] + scale / 2 - (ys.mean() + 0.5)) < 0.6


def test_visible_hidden_and_unlabelled() -> None:
    found = place_people([person((5, 6, 2), (7, 8, 1), (9, 10, 0))], SAME).keypoints[0]
    assert found[:3].tolist() == [[5, 6, 1], [7, 8, 0.5], [0, 0, 0]]


def test_what_the_crop_cuts_away_is_not_labelled() -> None:
    placement = Placement((100, 80), (100, 80), (20, 8, 64, 64))
    at_the_edges = person((20, 8, 2), (83.5, 71.5, 2), (19.9, 30, 2), (84, 30, 2), (30, 7.9, 2), (30, 72, 2))
    assert placed([at_the_edges], placement) == [[[0, 0.0, 0.0, 1.0], [1, 63.5, 63.5, 1.0]]]


def test_a_person_of_whom_nothing_is_left_is_gone_and_the_order_stays() -> None:
    placement = Placement((100, 80), (100, 80), (20, 8, 64, 64))
    people = [person((30, 30, 2)), person((1, 1, 2), (90, 75, 1)), person((50, 9, 1))]
    assert placed(people, placement) == [[[0, 10.0, 22.0, 1.0]], [[0, 30.0, 1.0, 0.5]]]


def test_nobody_is_an_empty_picture() -> None:
    assert place_people([], SAME) == People(80, 100, np.zeros((0, 17, 3), np.float32))
