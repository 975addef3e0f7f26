import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors.depth import depth_to_map
from t2i_shards.extractors.maps import png
from t2i_shards.extractors.maps.coco_classes import PALETTE
from t2i_shards.extractors.maps.formats import scale_to_grey
from t2i_shards.extractors.maps.people import People, draw_people
from t2i_shards.extractors.maps.people_format import PeopleFormat
from t2i_shards.extractors.registry import format_of

RANDOM = np.random.default_rng(7)
SIZES = [(1, 1), (7, 513), (64, 128)]


def grey(height: int, width: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width), dtype=np.uint8)


def people(count: int) -> People:
    keypoints = RANDOM.random((count, 17, 3)) * [128, 64, 1]
    return People(64, 128, keypoints)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("condition", ["sketch", "depth", "seg"])
def test_maps_come_back_exactly_and_the_bytes_repeat(condition: str, size: tuple[int, int]) -> None:
    form, condition_map = format_of(condition), grey(*size)
    members = form.encode(condition_map)
    assert members == form.encode(np.asfortranarray(condition_map))
    assert tuple(members) == form.members == (f"{condition}.png",)
    assert np.array_equal(form.decode(members), condition_map)


def test_control_images_have_the_channels_of_the_published_adapters() -> None:
    channels = {"sketch": 1, "depth": 3, "keypose": 3, "seg": 3, "color": 3, "canny": 1, "latents": 3}
    assert {name: format_of(name).channels for name in channels} == channels


@pytest.mark.parametrize("size", SIZES)
def test_other_decoders_read_the_pngs(size: tuple[int, int]) -> None:
    condition_map, colors = grey(*size), RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(png.encode_grey(condition_map))) as image:
        assert image.mode == "L"
        assert np.array_equal(image, condition_map)
    with Image.open(io.BytesIO(png.encode_rgb(colors))) as image:
        assert np.array_equal(image, colors)
    bgr = cv2.imdecode(np.frombuffer(png.encode_indexed(condition_map, PALETTE), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(bgr[:, :, ::-1], PALETTE[condition_map])


def test_a_seg_png_holds_ids_and_colours_at_once() -> None:
    labels = grey(64, 128)
    data = format_of("seg").encode(labels)["seg.png"]
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(image, labels)
        assert np.array_equal(image.convert("RGB"), PALETTE[labels])
    assert np.array_equal(format_of("seg").render(labels, 64, 128), PALETTE[labels])


def test_a_seg_png_of_colours_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="mode P, got mode RGB"):
        format_of("seg").decode({"seg.png": png.encode_rgb(PALETTE[grey(8, 8)])})


@pytest.mark.parametrize("data", [b"", b"no picture", png.encode_rgb(np.zeros((4, 4, 3), np.uint8))])
def test_a_grey_map_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"one-channel PNG|not a PNG"):
        format_of("sketch").decode({"sketch.png": data})


@pytest.mark.parametrize("count", [0, 1, 3])
def test_keypose_numbers_come_back_exactly_and_the_drawing_shows_them(count: int) -> None:
    record = people(count)
    members = PeopleFormat().encode(record)
    numbers = json.loads(members["keypose.json"])
    assert (numbers["persons"], numbers["height"], numbers["width"]) == (count, 64, 128)
    assert np.array(numbers["keypoints"]).size == count * 51
    restored = PeopleFormat().decode(members)
    assert restored == record
    assert PeopleFormat().encode(restored) == members
    with Image.open(io.BytesIO(members["keypose.png"])) as image:
        assert image.mode == "P"
        assert np.array_equal(image.convert("RGB"), draw_people(record))
    assert np.array_equal(PeopleFormat().render(restored, 64, 128), draw_people(record))


def test_keypoints_are_stored_exactly_and_draw_alike() -> None:
    """99.996 must not become 100.00, the next pixel, nor a score of 0.09996 one that is drawn."""
    points = np.random.default_rng(0).uniform(0, 64, (500, 17, 3)).astype(np.float32)
    points[..., :2] = np.where(points[..., :2] < 8, np.rint(points[..., :2]) - np.float32(0.004), points[..., :2])
    points[..., 2] = np.random.default_rng(1).choice(np.float32([0.09996, 0.1, 0.10004, 1]), (500, 17))
    for person in points:
        record = People(64, 64, person[None])
        members = PeopleFormat().encode(record)
        restored = PeopleFormat().decode(members)
        assert restored == record
        assert np.array_equal(draw_people(restored), draw_people(record))


def test_numbers_of_earlier_versions_are_read_as_they_are() -> None:
    record = b'{"persons":1,"height":64,"width":64,"keypoints":[[%s]]}' % b",".join([b"[12.34,5.6,0.123]"] * 17)
    assert np.array_equal(
        PeopleFormat().decode({"keypose.json": record}).keypoints[0, 3], np.float32([12.34, 5.6, 0.123])
    )


@pytest.mark.parametrize("column", [0, 2])
def test_keypoints_that_are_no_numbers_are_not_written(column: int) -> None:
    keypoints = people(1).keypoints.copy()
    keypoints[0, 3, column] = np.nan
    with pytest.raises(ValueError, match=r"[Nn]a[Nn]|JSON"):
        PeopleFormat().encode(People(64, 128, keypoints))


def test_a_map_is_never_resized_to_fit() -> None:
    for condition, condition_map in (("sketch", grey(64, 128)), ("seg", grey(64, 128)), ("keypose", people(1))):
        with pytest.raises(ValueError, match="picture's size"):
            format_of(condition).render(condition_map, 128, 128)


def test_depth_is_inverse_distance_with_near_white() -> None:
    distance = np.array([[1.0, 2.0, 4.0, np.inf]], np.float32)
    assert depth_to_map(distance).tolist() == [[255, 128, 64, 0]]
    assert depth_to_map(distance).dtype == np.uint8


@pytest.mark.parametrize("distance", [3.0, np.inf])
def test_a_constant_depth_is_black(distance: float) -> None:
    with np.errstate(all="raise"):
        assert not depth_to_map(np.full((4, 5), distance, np.float32)).any()


def test_each_depth_map_has_its_own_range() -> None:
    values = RANDOM.random((8, 8)).astype(np.float32)
    assert (scale_to_grey(values).min(), scale_to_grey(values).max()) == (0, 255)
    assert np.array_equal(scale_to_grey(values), scale_to_grey(values * 4 + 16))


@pytest.mark.parametrize("distance", [0.0, -1.0, np.nan])
def test_distances_that_are_none_are_refused(distance: float) -> None:
    with pytest.raises(ValueError, match="must be > 0 metres"):
        depth_to_map(np.array([[1.0, distance]], np.float32))
