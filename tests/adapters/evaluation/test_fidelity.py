"""Each measure is perfect for a picture that shows exactly what was asked for, and worse for each kind of
error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.adapters.evaluation.fidelity import TOGETHER, enlarge_for, extract_again, measure_fidelity
from t2i_shards.extractors.depth import to_distance
from t2i_shards.extractors.maps.people import People
from t2i_shards.extractors.registry import format_of

CHECKOUT = Path(__file__).parents[3]
Maps = list[Any]
PICTURES = np.zeros((3, 64, 64, 3), np.uint8)


class Sees:
    """An extractor that sees these maps, in this order, whatever it is shown."""

    def __init__(self, maps: Sequence[Any]) -> None:
        self._maps = list(maps)
        self.shown: list[int] = []

    def __call__(self, pictures: np.ndarray) -> list[Any]:
        self.shown.append(len(pictures))
        seen, self._maps = self._maps[: len(pictures)], self._maps[len(pictures) :]
        return seen


def measured(condition: str, given: Maps, seen: Maps) -> dict[str, float]:
    return measure_fidelity(condition, given, PICTURES[: len(given)], Sees(seen))  # type: ignore[arg-type]


def maps_of(condition: str) -> Maps:
    rng = np.random.default_rng(0)
    if condition == "color":
        return [rng.integers(0, 256, (2, 2, 3), np.uint8) for _ in range(3)]
    if condition == "keypose":
        points = rng.uniform(10, 50, (3, 2, 17, 3))
        points[:, 1, :, :2] += 100
        points[..., 2] = 1
        return [People(200, 200, of) for of in points]
    rows, columns = np.mgrid[:64, :64]
    if condition == "depth":
        return [np.uint8(3 * rows + columns // (k + 1)) for k in range(3)]
    if condition == "seg":
        return [np.uint8((rows > 20 + k) + 2 * (columns > 40)) for k in range(3)]
    return [
        np.where((rows - 30) ** 2 + (columns - 30 - k) ** 2 < 20**2, 255, 0).astype(np.uint8) for k in range(3)
    ]


def others(condition_map: Any) -> Any:
    """Of another sample."""
    if isinstance(condition_map, People):
        return People(200, 200, condition_map.keypoints[:, ::-1])
    return np.roll(condition_map, (len(condition_map) // 2, len(condition_map) // 3 + 1), axis=(0, 1))


def inverted(condition_map: Any) -> Any:
    return 255 - condition_map


def nothing(condition_map: Any) -> Any:
    return (
        People(200, 200, condition_map.keypoints[:0])
        if isinstance(condition_map, People)
        else np.zeros_like(condition_map)
    )


CONDITIONS = {
    "sketch": "edge_f1",
    "canny": "edge_f1",
    "depth": "abs_rel",
    "seg": "miou",
    "color": "color_error",
    "keypose": "pck",
}


@pytest.mark.parametrize(("condition", "name"), CONDITIONS.items())
@pytest.mark.parametrize("miss", [others, nothing])
def test_a_picture_that_follows_is_distinguished_from_one_that_does_not(
    condition: str, name: str, miss: Callable[[Any], Any]
) -> None:
    maps, fidelity = maps_of(condition), format_of(condition).fidelity
    assert fidelity is not None
    higher = next(measure.better for measure in fidelity.measures if measure.name == name) == "higher"
    found = measured(condition, maps, maps)
    assert list(found) == [measure.name for measure in fidelity.measures]
    best = found[name]
    assert best == pytest.approx(1 if higher else 0, abs=0.01)
    missed = measured(condition, maps, [miss(condition_map) for condition_map in maps])[name]
    assert missed < best - 0.2 if higher else missed > best + 0.15


def test_swapped_near_and_far_are_noticed() -> None:
    maps = maps_of("depth")
    assert measured("depth", maps, [inverted(condition_map) for condition_map in maps])["abs_rel"] > 0.3


def test_depth_is_read_as_one_to_ten_metres() -> None:
    np.testing.assert_allclose(to_distance(np.uint8([[255, 0]])), [[1.0, 10.0]])
    maps = maps_of("depth")
    # A map of half the contrast is the same depth, but for its rounding.
    assert measured("depth", maps, [condition_map // 2 + 60 for condition_map in maps])["abs_rel"] < 0.02


def test_people_are_counted() -> None:
    maps = maps_of("keypose")
    one = [People(200, 200, condition_map.keypoints[:1]) for condition_map in maps]
    found = measured("keypose", maps, one)
    assert (found["people_given"], found["people_found"], found["pck"]) == (6, 3, 0.5)
    assert measured("keypose", one, maps)["people_found"] == 6


def test_keypoints_that_were_not_drawn_are_not_asked_for() -> None:
    maps = maps_of("keypose")
    faint = [People(200, 200, np.concatenate([m.keypoints, m.keypoints * [1, 1, 0.05]])) for m in maps]
    half = [
        People(200, 200, m.keypoints * np.where(np.arange(17) < 9, 1, 0.1)[:, None] ** [0, 0, 1]) for m in maps
    ]
    assert measured("keypose", faint, maps)["people_given"] == 6
    assert measured("keypose", half, half)["pck"] == 1


def test_without_visible_people_there_is_no_pck_but_a_count() -> None:
    nobody = [People(64, 64, np.zeros((0, 17, 3)))]
    assert measured("keypose", nobody, nobody) == {"people_given": 0, "people_found": 0}
    seen = [People(64, 64, maps_of("keypose")[0].keypoints)]
    assert measured("keypose", nobody, seen) == {"people_given": 0, "people_found": 2}


def test_nothing_labelled_and_no_measure_give_no_number() -> None:
    unlabelled = [np.full((64, 64), 255, np.uint8)]
    assert measured("seg", unlabelled, unlabelled) == {}
    assert measured("latents", [None], [None]) == {}


def test_pictures_are_seen_in_order_a_few_at_a_time() -> None:
    sees = Sees(range(20))
    assert list(extract_again(sees, np.zeros((20, 4, 4, 3), np.uint8))) == list(range(20))  # type: ignore[arg-type]
    assert sees.shown == [TOGETHER, TOGETHER, 20 - 2 * TOGETHER]


def test_what_few_measures_need_is_not_imported_with_all() -> None:
    modules = "t2i_shards.adapters.training.trainer, adapters.evaluation.evaluate"
    code = f"import sys, {modules}; print({{'skimage', 'scipy'}} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout == "set()\n"


class Enlarges:
    """Sees in pictures of 128 pixels what `maps` are in pictures of 64."""

    def __init__(self, condition: str, maps: Maps) -> None:
        self.format, self._maps = format_of(condition), maps

    def __call__(self, pictures: np.ndarray) -> Maps:
        assert pictures.shape[1:] == (128, 128, 3)
        if self.format.is_numeric:
            whole = (slice(0, 128), slice(0, 128))
            return [self.format.place(condition_map, (128, 128), whole) for condition_map in self._maps]
        return [condition_map.repeat(2, axis=0).repeat(2, axis=1) for condition_map in self._maps]


@pytest.mark.parametrize("condition", ["sketch", "depth", "keypose", "seg"])
def test_what_is_seen_in_enlarged_pictures_is_of_the_pictures_own_size(condition: str) -> None:
    maps = maps_of(condition)
    if condition == "keypose":
        maps = [People(64, 64, people.keypoints) for people in maps]
    found = enlarge_for(Enlarges(condition, maps), 128)(PICTURES)  # type: ignore[arg-type]
    assert all(
        np.array_equal(a, b) if condition != "keypose" else a == b for a, b in zip(found, maps, strict=True)
    )


def test_pictures_that_are_large_enough_are_seen_as_they_are() -> None:
    sees = Sees([1, 2, 3])
    assert enlarge_for(sees, 64)(PICTURES) == [1, 2, 3]  # type: ignore[arg-type]
