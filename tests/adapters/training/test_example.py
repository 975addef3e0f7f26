from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from t2i_shards.adapters.training.batch import scale_control_images, scale_pictures
from t2i_shards.adapters.training.example import (
    CropConfig,
    VisitRandoms,
    choose_window,
    draw_edge,
    make_example,
    make_generator,
    read_map,
)
from t2i_shards.extractors.color import Color
from t2i_shards.extractors.maps.people import People
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.stored import decode_rgb, encode_jpeg
from t2i_shards.pipeline.shards.sample import Sample
from tests.adapters.toys import info_of, make_sample, toy_sample

CROP_CONFIG = CropConfig("sketch", size=64)
HALF = torch.full((1,), 0.5)


def test_a_visit_is_decided_by_seed_epoch_and_key() -> None:
    sample = toy_sample(1, size=128)
    first, again = (make_example(sample, CROP_CONFIG, 0, "3") for _ in range(2))
    assert first.u == again.u
    assert first.caption == again.caption
    for name in ("picture", "control_image", "vae_noise", "noise"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    renamed = Sample("other", sample.members)
    for other in (
        make_example(sample, CROP_CONFIG, 1, "3"),
        make_example(sample, CROP_CONFIG, 0, "4"),
        make_example(renamed, CROP_CONFIG, 0, "3"),
    ):
        assert other.u != first.u
        assert not torch.equal(other.noise, first.noise)


def test_picture_and_condition_are_cropped_together() -> None:
    spots = np.kron(np.random.default_rng(0).integers(0, 2, (24, 40)), np.ones((8, 8))).astype(np.uint8) * 255
    sample = make_sample("spots", np.repeat(spots[..., None], 3, 2), spots, ["spots"])
    crops = set()
    for epoch in range(8):
        example = make_example(sample, CROP_CONFIG, 0, str(epoch))
        assert example.picture.shape == (3, 64, 64)
        assert ((example.picture[0] > 127) == (example.control_image[0] > 127)).float().mean() > 0.99
        crops.add(example.control_image.numpy().tobytes())
    assert len(crops) > 4


def test_every_caption_has_its_turn() -> None:
    sample = toy_sample(1)
    assert {make_example(sample, CROP_CONFIG, 0, str(epoch)).caption for epoch in range(20)} == {
        "a disc",
        "a circle",
    }


def test_picture_runs_from_minus_one_to_one() -> None:
    white_and_black = np.zeros((64, 64, 3), np.uint8)
    white_and_black[:, 32:] = 255
    sample = make_sample("bw", white_and_black, white_and_black[..., 0], ["halves"])
    picture = scale_pictures(make_example(sample, CROP_CONFIG, 0, "0").picture)
    assert picture.min() == -1
    assert picture.max() == 1


def test_sketch_is_an_edge_from_128_on() -> None:
    sketch = np.array([[0, 127], [128, 255]], np.uint8)
    sample = make_sample("edge", np.zeros((2, 2, 3), np.uint8), sketch, ["an edge"])
    control_image = torch.from_numpy(read_map(sample, "sketch"))[None][None]
    assert scale_control_images(control_image, "sketch", HALF).tolist() == [[[[0.0, 0.0], [1.0, 1.0]]]]


def test_other_conditions_keep_their_values() -> None:
    depth = np.array([[0, 51], [102, 255]], np.uint8)
    sample = Sample("depth", format_of("depth").encode(depth))
    control_image = torch.from_numpy(read_map(sample, "depth"))[None, None].expand(1, 3, 2, 2)
    expected = torch.tensor([[0, 0.2], [0.4, 1.0]])
    torch.testing.assert_close(scale_control_images(control_image, "depth", HALF), expected.expand(1, 3, 2, 2))


def test_colours_are_those_of_the_crop_and_need_no_column() -> None:
    sample = toy_sample(3, size=192)
    example = make_example(sample, CropConfig("color", size=128), 0, "0")
    crop = np.ascontiguousarray(example.picture.permute(1, 2, 0).numpy())
    extractor = Color("default", None)
    expected = extractor.format.render(extractor(crop[None])[0], 128, 128)
    assert np.array_equal(example.control_image.permute(1, 2, 0).numpy(), expected)


def test_a_crop_shows_the_first_two_people_who_are_in_it() -> None:
    points = np.ones((3, 17, 3), np.float32)
    points[..., 0] = np.array([5, 20, 150])[:, None] + np.linspace(0, 10, 17)
    points[..., 1] = np.linspace(10, 50, 17)
    people = People(64, 192, points)
    picture = np.zeros((64, 192, 3), np.uint8)
    known = {"jpg": encode_jpeg(picture, 95), "json": info_of("people", picture, ("three",))}
    sample = Sample("people", {**known, **format_of("keypose").encode(people)})
    third = 0
    for visit in map(str, range(40)):
        randoms = VisitRandoms(
            *torch.rand(7, generator=make_generator(0, visit, "people"), dtype=torch.float64).tolist()
        )
        window = choose_window(64, 192, 64, randoms, "people")
        expected = format_of("keypose").render(people.within(window), 64, 192)[window]
        control_image = (
            make_example(sample, CropConfig("keypose", 64), 0, visit).control_image.permute(1, 2, 0).numpy()
        )
        assert np.array_equal(control_image, expected)
        third += bool(control_image[:, 150 - window[1].start :].any()) if window[1].stop > 150 else 0
    assert third > 0, "nobody was seen but the first two of the whole picture"


def test_picture_below_the_crop_is_refused_by_name() -> None:
    sample = toy_sample(5)
    height, width = decode_rgb(sample.members["jpg"]).shape[:2]
    with pytest.raises(RequestError, match=f"--size 128 .* 000005 is {width}x{height}"):
        make_example(sample, CropConfig("sketch", 128), 0, "0")


def test_half_of_the_visits_are_mirrored_and_the_asked_share_has_no_caption() -> None:
    sample = toy_sample(1)
    picture = torch.from_numpy(decode_rgb(sample.members["jpg"])).permute(2, 0, 1)
    sketch = torch.from_numpy(read_map(sample, "sketch"))[None]
    crop_config = CropConfig("sketch", size=64, flip=True, empty_captions=0.3)
    mirrored = empty = both = 0
    for epoch in range(1000):
        example = make_example(sample, crop_config, 0, str(epoch))
        flipped = not torch.equal(example.picture, picture)  # type: ignore[arg-type]
        if flipped:
            assert torch.equal(example.picture, picture.flip(-1))  # type: ignore[arg-type]
        assert torch.equal(example.control_image, sketch.flip(-1) if flipped else sketch)  # type: ignore[arg-type]
        mirrored += flipped
        empty += not example.caption
        both += flipped and not example.caption
    assert 450 < mirrored < 550
    assert 255 < empty < 345
    assert 120 < both < 180, "one has nothing to do with the other"


def test_nothing_is_mirrored_or_left_out_unasked() -> None:
    sample = toy_sample(1)
    picture = torch.from_numpy(decode_rgb(sample.members["jpg"])).permute(2, 0, 1)
    for epoch in range(50):
        example = make_example(sample, CROP_CONFIG, 0, str(epoch))
        assert torch.equal(example.picture, picture)  # type: ignore[arg-type]
        assert example.caption


def test_an_option_moves_no_other_dice() -> None:
    sample = toy_sample(1, size=128)
    options: dict[str, Any] = {"flip": True, "empty_captions": 0.5, "threshold": "visit"}
    for epoch in map(str, range(20)):
        plain = make_example(sample, CROP_CONFIG, 0, epoch)
        for name, value in options.items():
            other = make_example(sample, replace(CROP_CONFIG, **{name: value}), 0, epoch)
            assert (other.u, torch.equal(other.noise, plain.noise)) == (plain.u, True)
            assert other.caption in (plain.caption, "")
            if name != "flip":
                assert torch.equal(other.picture, plain.picture)  # type: ignore[arg-type]


def test_a_noise_offset_shifts_each_channel_and_nothing_else() -> None:
    sample = toy_sample(1, size=128)
    plain = make_example(sample, CROP_CONFIG, 0, "0")
    shifts = []
    for offset in (0.5, 2.0):
        shifted = make_example(sample, replace(CROP_CONFIG, noise_offset=offset), 0, "0")
        assert torch.equal(shifted.vae_noise, plain.vae_noise)
        assert shifted.u == plain.u
        by_channel = (shifted.noise - plain.noise).flatten(1)
        assert torch.allclose(by_channel, by_channel[:, :1].expand_as(by_channel), atol=1e-6)
        shifts.append(by_channel[:, 0])
    assert len(set(shifts[0].tolist())) == len(shifts[0]), "each channel its own"
    assert torch.allclose(shifts[1], 4 * shifts[0], atol=1e-5)


def test_levels_of_a_noise_offset_shift_quarters_and_sixteenths_too() -> None:
    sample = toy_sample(1, size=128)
    whole, quarters, sixteenths = (
        make_example(sample, replace(CROP_CONFIG, noise_offset=2.0, noise_offset_levels=levels), 0, "0").noise
        for levels in (1, 2, 3)
    )
    for coarse, fine, cells in ((whole, quarters, 2), (quarters, sixteenths, 4)):
        shift = fine - coarse
        by_cell = shift.unfold(1, shift.shape[1] // cells, shift.shape[1] // cells)
        by_cell = by_cell.unfold(2, shift.shape[2] // cells, shift.shape[2] // cells).flatten(3)
        assert torch.allclose(by_cell, by_cell[..., :1].expand_as(by_cell), atol=1e-5), "the same within a cell"
        each = by_cell[..., 0].flatten()
        assert len(set(each.tolist())) == len(each), "each cell and channel its own"


def test_thresholds_of_visits_lie_between_those_of_the_published_adapter_as_ever() -> None:
    sample = toy_sample(1)
    crop_config = replace(CROP_CONFIG, threshold="visit")
    edges = [make_example(sample, crop_config, 0, str(epoch)).edge for epoch in range(200)]
    assert 0.3 <= min(edges) < 0.35
    assert 0.75 < max(edges) < 0.8
    # Runs that were begun with these go on with these.
    assert edges[:3] == [0.4984799188731987, 0.535835920079631, 0.4087142947874614]
    for threshold in ("fixed", "batch"):
        crop_config = replace(CROP_CONFIG, threshold=threshold)
        assert {make_example(sample, crop_config, 0, str(epoch)).edge for epoch in range(5)} == {0.5}


def test_a_batch_has_one_of_six_thresholds_as_often_as_rounding_gives_them() -> None:
    drawn = [draw_edge(seed, step) for seed in range(20) for step in range(100)]
    counts = Counter(drawn)
    assert sorted(counts) == [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    for edge, count in counts.items():
        assert count / len(drawn) == pytest.approx(0.1 if edge in (0.3, 0.8) else 0.2, abs=0.03)
    assert len(set(drawn[:100])) > 3, "the threshold does not change from step to step"
    assert drawn[:100] != drawn[100:200], "nor with the seed"
    assert drawn[7] == draw_edge(0, 7)
