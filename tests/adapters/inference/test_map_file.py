"""Maps and masks as drawing programs and other tools save them."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from t2i_shards.adapters.inference.config import GenerateConfig
from t2i_shards.adapters.inference.control_images import load_mask, make_geometry, read_control_image
from t2i_shards.adapters.inference.map_file import load_shape
from t2i_shards.extractors.maps import png
from t2i_shards.extractors.maps.coco_classes import PALETTE
from t2i_shards.extractors.maps.people import People
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError

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
