"""Control images from files: unchanged where nothing is resized, else resized by each condition's rule."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from t2i_shards.adapters.inference.config import GenerateConfig
from t2i_shards.adapters.inference.control_images import (
    extract_control_image,
    load_mask,
    load_shape,
    make_geometry,
    read_control_image,
    to_control_image,
)
from t2i_shards.extractors.maps import png
from t2i_shards.extractors.maps.coco_classes import PALETTE
from t2i_shards.extractors.maps.people import PEOPLE_PALETTE, People
from t2i_shards.extractors.registry import format_of, make_extractor
from t2i_shards.pipeline.errors import RequestError

SMALL, LARGE = make_geometry(128, "aspect"), make_geometry(256, "aspect")


def keep(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def soft_lines(size: int = 256) -> np.ndarray:
    lines = np.zeros((size, size), np.uint8)
    cv2.circle(lines, (size // 2, size // 2), size // 3, 255, 1)
    cv2.line(lines, (3, 9), (size - 9, size - 30), 200, 1)
    lines[:, :4] = 100  # too faint to be an edge
    return lines


def a_person(width: int = 192, height: int = 128) -> People:
    points = np.random.default_rng(0).uniform(20, 100, (1, 17, 3))
    points[..., 2] = 1
    return People(height, width, points)


def stored(condition: str) -> tuple[str, bytes, np.ndarray]:
    """A map of 128x192 as a column stores it, and what the adapter must see of it."""
    form, rng = format_of(condition), np.random.default_rng(1)
    maps = {
        "sketch": rng.integers(0, 256, (128, 192), np.uint8),
        "depth": rng.integers(0, 256, (128, 192), np.uint8),
        "seg": rng.choice(np.uint8([0, 5, 181, 255]), (128, 192)),
        "color": rng.integers(0, 256, (2, 3, 3), np.uint8),
        "keypose": a_person(),
    }
    name = form.members[0]
    control_image = form.render(maps[condition], 128, 192)
    if condition == "sketch":
        control_image = np.uint8(255) * (control_image > 127)
    return name, form.encode(maps[condition])[name], control_image


@pytest.mark.parametrize("condition", ["sketch", "depth", "seg", "color", "keypose"])
def test_a_columns_map_of_the_size_is_seen_as_in_training(condition: str, tmp_path: Path) -> None:
    name, data, expected = stored(condition)
    found = read_control_image(condition, keep(tmp_path, name, data), SMALL)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("size", [64, 192, 320])
def test_a_sketch_of_another_size_stays_black_and_white_and_whole(size: int, tmp_path: Path) -> None:
    lines = soft_lines()
    path = keep(tmp_path, "map.png", png.encode_grey(lines))
    found = read_control_image("sketch", path, make_geometry(size, "aspect"))
    assert found.shape == (size, size, 1)
    assert set(np.unique(found)) == {0, 255}
    # Lines of one pixel are not torn: the circle still has an inside. And what was too faint is no edge.
    regions, _ = cv2.connectedComponents(255 - found[..., 0], connectivity=4)
    assert regions == cv2.connectedComponents((lines <= 127).astype(np.uint8), connectivity=4)[0]
    assert not found[0].any()


def test_labels_keep_their_colours_and_depth_does_not_need_to(tmp_path: Path) -> None:
    labels = np.zeros((150, 250), np.uint8)
    labels[40:110, 60:200] = 7
    data = png.encode_indexed(labels, PALETTE)
    found = read_control_image("seg", keep(tmp_path, "seg.png", data), SMALL)
    assert found.shape == (128, 192, 3)
    assert {tuple(c) for c in found.reshape(-1, 3)} == {tuple(PALETTE[0]), tuple(PALETTE[7])}
    grey = keep(tmp_path, "depth.png", png.encode_grey(labels * 30))
    assert len(np.unique(read_control_image("depth", grey, SMALL))) > 2


def test_people_are_drawn_again_at_another_size(tmp_path: Path) -> None:
    """From the numbers, so that lines are as wide as ever; from a drawing, in its colours."""
    person = a_person()
    members = format_of("keypose").encode(person)
    twice = People(256, 384, person.keypoints * np.float32([2, 2, 1]))
    numbers = keep(tmp_path, "pose.json", members["keypose.json"])
    assert np.array_equal(
        read_control_image("keypose", numbers, LARGE), format_of("keypose").render(twice, 256, 384)
    )
    control_image = read_control_image("keypose", keep(tmp_path, "pose.png", members["keypose.png"]), LARGE)
    colours = {tuple(c) for c in control_image.reshape(-1, 3)}
    assert colours == {tuple(c) for c in PEOPLE_PALETTE}


def test_people_are_cut_as_pictures_are(tmp_path: Path) -> None:
    """250x150 becomes 213x128, of which 192 columns are kept from the eleventh on."""
    person = People(150, 250, a_person().keypoints)
    path = keep(tmp_path, "pose.json", format_of("keypose").encode(person)["keypose.json"])
    moved = person.keypoints.astype(float) * [213 / 250, 128 / 150, 1] - [10, 0, 0]
    expected = format_of("keypose").render(People(128, 192, moved), 128, 192)
    assert np.array_equal(read_control_image("keypose", path, SMALL), expected)


def test_colours_as_cells_and_as_a_mosaic_are_the_same(tmp_path: Path) -> None:
    cells = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    small = keep(tmp_path, "cells.png", png.encode_rgb(cells))
    mosaic = keep(tmp_path, "mosaic.png", png.encode_rgb(format_of("color").render(cells, 256, 384)))
    drawn = read_control_image("color", small, LARGE)
    assert np.array_equal(drawn[::64, ::64], cells)
    assert np.array_equal(drawn, read_control_image("color", mosaic, LARGE))
    # At half the size there are half as many cells, still of 64 pixels.
    fewer = read_control_image("color", small, SMALL)
    assert fewer.shape == (128, 192, 3)
    blocks = fewer.reshape(2, 64, 3, 64, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert np.abs(blocks[0, 0, 0, 0] - cells[:2, :2].mean(axis=(0, 1))).max() <= 1


def test_what_an_extractor_sees_is_drawn_as_in_training() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (128, 192, 3), np.uint8)
    color, canny = make_extractor("color"), make_extractor("canny")
    canny.load("cpu")
    assert np.array_equal(extract_control_image(color, picture)[::64, ::64], color(picture[None])[0])
    assert extract_control_image(canny, picture).shape == (128, 192, 1)


def test_a_mask_is_what_is_brighter_than_half(tmp_path: Path) -> None:
    grey = np.zeros((128, 128), np.uint8)
    grey[:64], grey[64:, 64:] = 127, 128
    mask = load_mask(keep(tmp_path, "mask.png", png.encode_grey(grey)), SMALL)
    assert mask.dtype == bool
    assert np.array_equal(mask, grey > 127)
    assert load_mask(tmp_path / "mask.png", LARGE).sum() == 4 * mask.sum()


def test_channels_are_those_of_the_adapter() -> None:
    grey = np.uint8([[[0], [255]]])
    seen = to_control_image(grey, 3, "sketch")
    assert seen.shape == (1, 3, 1, 2)
    assert torch.equal(seen[0, 2, 0], torch.tensor([0.0, 1.0]))
    with pytest.raises(RequestError, match="seg takes 1 channel"):
        to_control_image(np.zeros((1, 2, 3), np.uint8), 1, "seg")


@pytest.mark.parametrize(
    ("condition", "name", "data"),
    [
        ("sketch", "map.png", b"no picture"),
        ("keypose", "pose.json", b"{}"),
        ("keypose", "pose.json", b'{"persons": 2, "height": 4, "width": 4, "keypoints": []}'),
        ("depth", "there-is-none.png", b""),
    ],
)
def test_a_file_that_is_no_map_is_refused_in_one_line(
    condition: str, name: str, data: bytes, tmp_path: Path
) -> None:
    path = keep(tmp_path, name, data) if data else tmp_path / name
    with pytest.raises(RequestError) as refusal:
        read_control_image(condition, path, SMALL)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


SIZE = 128
GEOMETRY = make_geometry(SIZE, "aspect")
LINES = np.zeros((SIZE, SIZE), np.uint8)
cv2.circle(LINES, (64, 64), 40, 255, 3)


def save(folder: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path = folder / "map.png"
    Image.fromarray(pixels, mode).save(path)
    return path


def on_transparent(grey: int) -> np.ndarray:
    return np.dstack([np.full((SIZE, SIZE, 3), grey, np.uint8), LINES])


@pytest.mark.parametrize("grey", [0, 60, 255])
def test_lines_on_a_transparent_sheet_are_the_lines(tmp_path: Path, grey: int) -> None:
    path = save(tmp_path, on_transparent(grey))
    assert np.array_equal(load_shape(path), LINES)
    assert np.array_equal(read_control_image("sketch", path, GEOMETRY)[..., 0], LINES)
    assert np.array_equal(load_mask(path, GEOMETRY), LINES > 127)


def test_a_white_on_black_drawing_with_a_transparent_margin_lies_on_black(tmp_path: Path) -> None:
    alpha = np.zeros((SIZE, SIZE), np.uint8)
    alpha[10:-10, 10:-10] = 255
    path = save(tmp_path, np.dstack([LINES, LINES, LINES, alpha]))
    assert np.array_equal(load_shape(path), LINES)


def test_transparent_depth_and_labels_lie_on_black(tmp_path: Path) -> None:
    path = save(tmp_path, np.dstack([np.full((SIZE, SIZE, 3), 200, np.uint8), LINES]))
    assert np.array_equal(read_control_image("depth", path, GEOMETRY) > 100, np.dstack([LINES] * 3) > 127)
    assert not read_control_image("keypose", path, GEOMETRY)[LINES == 0].any()
    assert (read_control_image("color", path, GEOMETRY) > 190).all(), (
        "colours are of a picture, which lies on white"
    )


@pytest.mark.parametrize(
    ("condition", "pixels", "expected"),
    [
        ("sketch", 255 - LINES, "white on black; try --invert sketch"),
        ("canny", 255 - LINES, "white on black; try --invert canny"),
        ("depth", np.full((SIZE, SIZE), 9, np.uint8), "brightest pixel is 9 of 255"),
        (
            "seg",
            np.full((SIZE, SIZE, 3), (120, 120, 120), np.uint8),
            "100% of it has colours that are not those of COCO-Stuff",
        ),
        ("keypose", np.dstack([LINES, LINES // 2, LINES]), "colours that are not those of a COCO-17 drawing"),
    ],
)
def test_what_looks_wrong_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, condition: str, pixels: np.ndarray, expected: str
) -> None:
    path = save(tmp_path, pixels)
    with caplog.at_level(logging.WARNING):
        read_control_image(condition, path, GEOMETRY)
    (line,) = caplog.messages
    assert line.startswith(f"--condition {condition}={path}: ")
    assert expected in line


def test_right_maps_need_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = np.random.default_rng(0).uniform(20, 100, (2, 17, 3)).astype(np.float32)
    maps = {
        "sketch": np.dstack([LINES] * 3),
        "depth": np.dstack([np.tile(np.arange(SIZE, dtype=np.uint8), (SIZE, 1))] * 3),
        "seg": PALETTE[np.random.default_rng(0).choice([0, 9, 181, 255], (SIZE, SIZE))],
        "keypose": format_of("keypose").render(People(SIZE, SIZE, points), SIZE, SIZE),
    }
    for condition, pixels in maps.items():
        path = tmp_path / f"{condition}.png"
        path.write_bytes(png.encode_rgb(np.ascontiguousarray(pixels)))
        read_control_image(condition, path, GEOMETRY)
    assert caplog.messages == []


def test_an_inverted_map_is_the_map(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path, 255 - LINES)
    assert np.array_equal(read_control_image("sketch", path, GEOMETRY, invert=True)[..., 0], LINES)
    assert np.array_equal(read_control_image("depth", path, GEOMETRY, invert=True), np.dstack([LINES] * 3))
    assert caplog.messages == []


def test_only_a_given_map_can_be_inverted(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--invert depth needs a --condition depth=FILE"):
        GenerateConfig("tiny", tmp_path, "p", None, ("sketch=a",), ("sketch=m.png",), invert=("depth",))
