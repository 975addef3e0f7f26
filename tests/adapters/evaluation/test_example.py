from __future__ import annotations

import numpy as np
import pytest

from t2i_shards.adapters.evaluation.example import EvalExample, choose_wrong, crop_middle, seed_of
from t2i_shards.extractors.maps.people import People
from t2i_shards.extractors.registry import format_of, make_extractor
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.stored import decode_rgb, encode_jpeg
from t2i_shards.pipeline.shards.sample import Sample
from tests.adapters.toys import info_of

WIDE = (128, 192)
MIDDLE = slice(32, 96), slice(64, 128)


def sample(condition: str, condition_map: object) -> Sample:
    picture = np.random.default_rng(0).integers(0, 256, (*WIDE, 3), np.uint8)
    members = {"jpg": encode_jpeg(picture, 95), "json": info_of("key", picture, ("first", "second"))}
    return Sample("key", {**members, **format_of(condition).encode(condition_map)})


def a_person() -> People:
    points = np.zeros((3, 17, 3), np.float32)
    points[..., :2] = np.random.default_rng(0).uniform(0, 128, (3, 17, 2))
    points[..., 2] = 1
    return People(*WIDE, points)


@pytest.mark.parametrize("condition", ["sketch", "depth", "seg"])
def test_picture_map_and_drawing_are_cut_alike(condition: str) -> None:
    values = np.uint8([0, 100, 160, 255]) if condition != "seg" else np.uint8([3, 90, 255])
    condition_map = np.random.default_rng(1).choice(values, WIDE)
    whole = sample(condition, condition_map)
    example = crop_middle(whole, condition, 64)
    assert np.array_equal(example.picture, decode_rgb(whole.members["jpg"])[MIDDLE])
    assert np.array_equal(example.map, condition_map[MIDDLE])
    drawn = format_of(condition).render(condition_map, *WIDE)[MIDDLE]
    assert np.array_equal(example.control_image, np.uint8(255) * (drawn > 127) if condition == "sketch" else drawn)
    assert (example.key, example.caption) == ("key", "first")


def test_colours_are_those_of_the_crop() -> None:
    whole = sample("sketch", np.zeros(WIDE, np.uint8))
    example = crop_middle(whole, "color", 64)
    assert np.array_equal(example.map, make_extractor("color")(example.picture[None])[0])
    assert (example.control_image == example.map[0, 0]).all()


def test_of_people_only_what_is_to_be_seen_counts() -> None:
    """The first two, who are drawn, and their keypoints inside the crop, at its place."""
    people = a_person()
    example = crop_middle(sample("keypose", people), "keypose", 64)
    assert np.array_equal(example.control_image, format_of("keypose").render(people, *WIDE)[MIDDLE])
    assert (len(example.map), example.map.height, example.map.width) == (2, 64, 64)
    inside = ((people.keypoints[:2, :, :2] >= (64, 32)) & (people.keypoints[:2, :, :2] < (128, 96))).all(axis=2)
    assert inside.any()
    assert np.array_equal(example.map.keypoints[..., 2] > 0, inside)
    moved = people.keypoints[:2, :, :2] - np.float32([64, 32])
    np.testing.assert_allclose(example.map.keypoints[inside][:, :2], moved[inside], atol=0.01)


def standing(*lefts: float) -> People:
    """One person at each x, ten pixels wide, on WIDE."""
    points = np.ones((len(lefts), 17, 3), np.float32)
    points[..., 0] = np.array(lefts)[:, None] + np.linspace(0, 10, 17)
    points[..., 1] = np.linspace(40, 80, 17)
    return People(*WIDE, points)


def test_people_are_chosen_in_the_crop() -> None:
    """The first two of the whole picture are outside the middle square, columns 64 to 128."""
    example = crop_middle(sample("keypose", standing(10, 30, 80, 100)), "keypose", 64)
    assert np.array_equal(example.control_image, format_of("keypose").render(standing(80, 100), *WIDE)[MIDDLE])
    assert np.array_equal(example.map.keypoints[:, 0, 0], [16, 36])


def test_the_wrong_condition_shows_something() -> None:
    def example(people: People) -> EvalExample:
        return EvalExample("key", np.zeros((1, 1, 3), np.uint8), people, np.zeros((1, 1, 3), np.uint8), "")

    nobody, somebody = example(standing()), example(standing(10))
    assert choose_wrong([somebody, nobody, nobody, somebody], "keypose") == [3, 3, 3, 0]
    assert choose_wrong([nobody, somebody, nobody], "keypose") == [1, 2, 1], "its own condition is not a wrong one"
    assert choose_wrong([nobody, nobody], "keypose") == [1, 0]


def test_a_map_is_cut_without_a_trace_of_the_whole() -> None:
    part = format_of("depth").crop(np.zeros((8, 8), np.uint8), (slice(2, 4), slice(0, 8)))
    assert part.shape == (2, 8)
    assert part.flags["C_CONTIGUOUS"]


def test_a_picture_that_is_too_small_is_refused() -> None:
    with pytest.raises(RequestError, match="key is 192x128"):
        crop_middle(sample("sketch", np.zeros(WIDE, np.uint8)), "sketch", 192)


def test_a_seed_is_the_samples_own() -> None:
    seeds = {seed_of(seed, key) for seed in (0, 1) for key in ("a", "b")}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(0, "a") == seed_of(0, "a") == 7606779636460171844
