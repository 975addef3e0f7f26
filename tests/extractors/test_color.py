import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from t2i_shards.extractors.color import Color
from t2i_shards.extractors.registry import format_of


@pytest.fixture
def picture() -> np.ndarray:
    return np.ascontiguousarray(astronaut()[:320, :448])


def test_bit_for_bit_opencv_and_torch_without_antialiasing(picture: np.ndarray) -> None:
    import torch
    from torch.nn.functional import interpolate

    (cells,) = Color("default", None)(picture[None])
    assert np.array_equal(cells, cv2.resize(picture, (7, 5), interpolation=cv2.INTER_CUBIC))
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    down = interpolate(tensor, (5, 7), mode="bicubic", antialias=False, align_corners=False)
    expected = down.clamp(0, 255).round().byte()[0].permute(1, 2, 0).numpy()
    assert np.array_equal(cells, expected)


def test_antialiasing_would_give_another_map(picture: np.ndarray) -> None:
    (cells,) = Color("default", None)(picture[None])
    smooth = np.asarray(Image.fromarray(picture).resize((7, 5), Image.Resampling.BICUBIC))
    assert np.abs(cells.astype(int) - smooth).max() > 20


def test_channels_stay_in_order() -> None:
    red = np.zeros((1, 64, 64, 3), np.uint8)
    red[..., 0] = 200
    (cells,) = Color("default", None)(red)
    members = format_of("color").encode(cells)
    assert format_of("color").decode(members).tolist() == [[[200, 0, 0]]]


def test_drawn_as_cells_of_64_pixels(picture: np.ndarray) -> None:
    (cells,) = Color("default", None)(picture[None])
    control_image = format_of("color").render(cells, 320, 448)
    assert np.array_equal(control_image, cells.repeat(64, axis=0).repeat(64, axis=1))


@pytest.mark.parametrize(("size", "cells"), [((1, 1), (1, 1)), ((7, 513), (1, 8)), ((127, 128), (1, 2))])
def test_at_least_one_cell(size: tuple[int, int], cells: tuple[int, int]) -> None:
    (condition_map,) = Color("default", None)(np.full((1, *size, 3), 9, np.uint8))
    assert condition_map.shape == (*cells, 3)
    assert (format_of("color").render(condition_map, *size) == 9).all()
