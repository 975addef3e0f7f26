import cv2
import numpy as np
import pytest
from skimage import data

from t2i_shards.extractors.canny import Canny, draw_thresholds


def photograph(height: int = 96, width: int = 128, top: int = 60) -> np.ndarray:
    """uint8 (H, W, 3) RGB: a part of a picture that scikit-image carries."""
    return np.ascontiguousarray(data.astronaut()[top : top + height, 100 : 100 + width])


def reference(picture: np.ndarray, low: int = 100, high: int = 200) -> np.ndarray:
    """What TencentARC's get_cond_canny does with an RGB array."""
    return np.asarray(cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), low, high))


def test_edges_are_those_of_the_colour_picture() -> None:
    picture = np.ascontiguousarray(data.astronaut())
    (condition_map,) = Canny("default", None)(picture[None])
    assert np.array_equal(condition_map, reference(picture))
    assert set(np.unique(condition_map)) == {0, 255}
    assert not np.array_equal(condition_map, cv2.Canny(picture, 100, 200)), "RGB: ties are broken otherwise"


def test_an_edge_between_colours_of_one_brightness_is_found() -> None:
    picture = np.full((64, 64, 3), (200, 60, 60), np.uint8)
    picture[:, 32:] = (60, 132, 60)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    assert int(grey.max()) - int(grey.min()) < 3
    (condition_map,) = Canny("default", None)(picture[None])
    assert (condition_map[8:-8, 30:34] == 255).any(axis=1).all()
    assert not cv2.Canny(grey, 100, 200).any()


def test_it_equals_controlnet_aux_but_for_ties() -> None:
    from controlnet_aux import CannyDetector

    picture = np.ascontiguousarray(data.astronaut())
    theirs = np.asarray(CannyDetector()(picture, detect_resolution=512, image_resolution=512, output_type="np"))
    (ours,) = Canny("default", None)(picture[None])
    edges = theirs[..., 0] > 0
    union = (edges | (ours > 0)).sum()
    assert (edges & (ours > 0)).sum() / union > 0.995


def test_random_thresholds_follow_from_the_picture_alone() -> None:
    pictures = np.stack([photograph(top=top) for top in range(0, 320, 20)])
    random = Canny("random", None)
    maps = random(pictures)
    for picture, condition_map in zip(pictures[::-1], random(pictures[::-1]), strict=True):
        assert np.array_equal(condition_map, reference(picture, *draw_thresholds(picture)))
        assert np.array_equal(condition_map, random(np.asfortranarray(picture)[None])[0])
    assert all(np.array_equal(a, b) for a, b in zip(maps, random(pictures[::-1])[::-1], strict=True))


def test_random_thresholds_are_independent_and_cover_their_ranges() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4000, 4, 4, 3), np.uint8)
    low, high = np.array([draw_thresholds(picture) for picture in noise]).T
    assert (low.min(), low.max(), high.min(), high.max()) == (50, 150, 150, 250)
    assert abs(low.mean() - 100) < 2
    assert abs(high.mean() - 200) < 2
    assert abs(np.corrcoef(low, high)[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("variant", "low", "high"),
    [("default", 100, 200), ("mini", 100, 200), ("random", [50, 150], [150, 250])],
)
def test_the_recipe_names_version_and_thresholds(
    variant: str, low: int | list[int], high: int | list[int]
) -> None:
    recipe = Canny(variant, None).recipe()
    assert recipe["version"] == 2
    assert (recipe["parameters"]["low"], recipe["parameters"]["high"]) == (low, high)
    assert recipe["weights"] is None
