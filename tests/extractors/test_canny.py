import cv2
import numpy as np
import pytest
from skimage import data

from extractors.canny import RANDOM_LOW, Canny, draw_low


def photograph(height: int = 96, width: int = 128, top: int = 60) -> np.ndarray:
    """uint8 (H, W, 3) RGB: a part of a picture that scikit-image carries."""
    return np.ascontiguousarray(data.astronaut()[top : top + height, 100 : 100 + width])


def test_fixed_thresholds_are_100_and_200_on_the_grey_picture() -> None:
    picture = photograph()
    (map,) = Canny("default", None)(picture[None])
    assert np.array_equal(map, cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 100, 200))
    assert set(np.unique(map)) == {0, 255}
    assert not np.array_equal(map, cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 100, 200))


def test_random_thresholds_follow_from_the_picture_alone() -> None:
    pictures = np.stack([photograph(top=top) for top in range(0, 320, 20)])
    random = Canny("random", None)
    maps = random(pictures)
    for picture, map in zip(pictures[::-1], random(pictures[::-1]), strict=True):
        low = draw_low(picture)
        assert low in RANDOM_LOW
        assert np.array_equal(map, cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), low, 2 * low))
        assert np.array_equal(map, random(np.asfortranarray(picture)[None])[0])
    assert all(np.array_equal(a, b) for a, b in zip(maps, random(pictures[::-1])[::-1], strict=True))


def test_random_thresholds_cover_their_range() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 4, 4, 3), np.uint8)
    drawn = [draw_low(picture) for picture in noise]
    assert (min(drawn), max(drawn)) == (50, 150)
    assert abs(np.mean(drawn) - 100) < 3


@pytest.mark.parametrize(("variant", "low"), [("default", 100), ("mini", 100), ("random", [50, 150])])
def test_the_recipe_names_the_thresholds(variant: str, low: int | list[int]) -> None:
    recipe = Canny(variant, None).recipe()
    assert recipe["parameters"]["low"] == low
    assert recipe["weights"] is None
