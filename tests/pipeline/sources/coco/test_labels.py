"""Label maps lie on the stored picture pixel by pixel, whatever was done to it."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors.maps.coco_classes import PANOPTIC_TO_VALUE
from t2i_shards.extractors.maps.people import People
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.decode import decode_picture
from t2i_shards.pipeline.image.geometry import Geometry, Placement, apply_placement
from t2i_shards.pipeline.sources.coco.labels import place_labels, place_people, read_label_map, read_panoptic_map
from tests.pipeline.coco_toy import encode_png, paint_panoptic, panoptic_of

SIZES = [
    (640, 480),
    (480, 640),
    (640, 427),
    (333, 500),
    (131, 129),
    (129, 259),
    (1021, 767),
    (300, 150),
    (256, 256),
]


def stripes(width: int, height: int, across: bool) -> np.ndarray:
    """uint8 (H, W) of 0 and 1 in stripes of 9 to 30 pixels."""
    rng = np.random.default_rng(width * height + across)
    length = height if across else width
    edges = np.cumsum(rng.integers(9, 31, length))
    line = np.searchsorted(edges, np.arange(length), side="right") % 2
    return np.ascontiguousarray(
        np.broadcast_to(line[:, None] if across else line, (height, width)).astype(np.uint8)
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("geometry", [Geometry(256), Geometry(128, fit="square")], ids=["aspect", "square"])
def test_labels_lie_on_the_stored_picture(size: tuple[int, int], across: bool, geometry: Geometry) -> None:
    labels = stripes(*size, across)
    picture = np.repeat(labels[..., None] * 255, 3, axis=2)
    decoded = decode_picture(encode_png(picture), geometry)
    placement = geometry.place(*decoded.size)
    stored = apply_placement(decoded.picture, placement)[..., 0].astype(int)
    placed = place_labels(labels, placement)
    assert placed.shape == stored.shape
    assert placed.dtype == np.uint8
    # A pixel that is nearly half of each has no one label.
    clear = abs(stored - 127.5) > 32
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(placed[clear], (stored > 127)[clear])


def test_labels_lie_on_a_jpeg_that_was_decoded_at_half_its_size() -> None:
    labels = stripes(1280, 960, across=False)
    file = io.BytesIO()
    Image.fromarray(np.repeat(labels[..., None] * 255, 3, axis=2)).save(file, "JPEG", quality=95)
    geometry = Geometry(256)
    decoded = decode_picture(file.getvalue(), geometry)
    assert decoded.picture.shape[:2] == (480, 640)
    placement = geometry.place(*decoded.size)
    stored = apply_placement(decoded.picture, placement)[..., 0].astype(int)
    clear = abs(stored - 127.5) > 40
    np.testing.assert_array_equal(place_labels(labels, placement)[clear], (stored > 127)[clear])


def test_labels_are_never_mixed() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 90, 181, 255], np.uint8)[rng.integers(0, 4, (97, 131))]
    for size in (64, 128, 192):
        placement = Geometry(size).place(131, 97)
        placed = place_labels(labels, placement)
        assert set(np.unique(placed)) <= {0, 90, 181, 255}
        exact = cv2.resize(labels, placement.resized, interpolation=cv2.INTER_NEAREST_EXACT)
        x, y, w, h = placement.crop
        assert (placed == exact[y : y + h, x : x + w]).mean() > 0.999  # OpenCV computes in fixed point


def test_a_stuff_map_is_read_as_it_is() -> None:
    labels = np.array([[0, 90, 91], [181, 255, 7]], np.uint8)
    np.testing.assert_array_equal(read_label_map(encode_png(labels), (3, 2)), labels)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros((3, 2), np.uint8), "label map of another size"),
        (np.zeros((2, 3, 3), np.uint8), "not a label map"),
        (np.full((2, 3), 182, np.uint8), "not a label map"),
        (np.full((2, 3), 254, np.uint8), "not a label map"),
        (np.zeros((2, 3), np.uint16), "not a label map"),
    ],
)
def test_what_is_no_stuff_map_is_a_drop(labels: np.ndarray, reason: str) -> None:
    with pytest.raises(Drop) as drop:
        read_label_map(encode_png(labels), (3, 2))
    assert drop.value.reason == reason


@pytest.mark.parametrize(
    "damage", [lambda d: b"", lambda d: d[:60], lambda d: b"<html>", lambda d: d[:-20] + d[-8:]]
)
def test_a_damaged_map_is_a_drop(damage: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 182, (64, 64)).astype(np.uint8)
    with pytest.raises(Drop, match="not a label map"):
        read_label_map(damage(encode_png(noise)), (64, 64))


def test_panoptic_ids_become_stuff_labels() -> None:
    labels = np.array([[0, 168, 255], [156, 105, 0]], np.uint8)  # person, tree, none, sky-other, clouds, person
    png, segments = panoptic_of(labels)
    pairs = [(s["id"], s["category_id"]) for s in segments]
    expected = [[0, 168, 255], [156, 255, 0]]  # no panoptic category becomes "clouds"
    np.testing.assert_array_equal(read_panoptic_map(png, (3, 2), pairs), expected)
    assert read_panoptic_map(encode_png(np.zeros((2, 3, 3), np.uint8)), (3, 2), []).tolist() == [[255] * 3] * 2


def test_two_segments_of_one_category_and_ids_of_three_bytes() -> None:
    ids = np.array([[1, 256, 65536, 0xFFFFFF]])
    png = encode_png(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=2).astype(np.uint8))
    segments = [(0xFFFFFF, 187), (1, 1), (65536, 1), (256, 200)]
    assert read_panoptic_map(png, (4, 1), segments).tolist() == [[PANOPTIC_TO_VALUE[c] for c in (1, 200, 1, 187)]]


@pytest.mark.parametrize("number", [3, 0xFFFFFF])
def test_an_unlisted_segment_is_a_drop(number: int) -> None:
    png = encode_png(np.array([[[number & 255, number >> 8 & 255, number >> 16]]], np.uint8))
    with pytest.raises(Drop, match="not a label map"):
        read_panoptic_map(png, (1, 1), [(5, 1)])


def test_the_panoptic_examples_say_the_same_one_segment_at_a_time(assets: Any) -> None:
    import json

    record = json.loads((assets / "images/coco_panoptic/panoptic_examples.json").read_text())
    for image, annotation in zip(record["images"], record["annotations"], strict=True):
        png = (assets / "images/coco_panoptic/panoptic_examples" / annotation["file_name"]).read_bytes()
        segments = annotation["segments_info"]
        labels = read_panoptic_map(
            png, (image["width"], image["height"]), [(s["id"], s["category_id"]) for s in segments]
        )
        np.testing.assert_array_equal(labels, paint_panoptic(png, segments))
        assert (labels < 255).mean() > 0.9


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
