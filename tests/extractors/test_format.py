"""A format has four things of its own; all else has a default that holds for a map of pixels."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import pytest

from t2i_shards.extractors.format import Format, check_size
from t2i_shards.extractors.maps.formats import Grey, Rgb
from t2i_shards.extractors.maps.statistics import EDGE_DENSITY

WINDOW = slice(1, 4), slice(2, 7)


class Least(Format):
    """Map: uint8 (4, 8, 3)."""

    @property
    def members(self) -> tuple[str, ...]:
        return ("least.bin",)

    @property
    def meanings(self) -> tuple[str, ...]:
        return ("raw colours",)

    def encode(self, condition_map: np.ndarray) -> dict[str, bytes]:
        return {"least.bin": zlib.compress(condition_map.tobytes())}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        return np.frombuffer(zlib.decompress(members["least.bin"]), np.uint8).reshape(4, 8, 3)

    def render(self, condition_map: np.ndarray, height: int, width: int) -> np.ndarray:
        check_size(condition_map.shape[:2], height, width)
        return condition_map


def test_a_new_kind_of_map_is_a_condition_by_its_four_methods() -> None:
    form, condition_map = Least(), np.random.default_rng(0).integers(0, 256, (4, 8, 3), np.uint8)
    assert np.array_equal(form.decode(form.encode(condition_map)), condition_map)
    assert form.is_condition
    assert (form.channels, form.values, form.size(condition_map)) == (3, "continuous", (4, 8))
    assert not (form.from_crop)
    assert not (form.is_numeric)
    assert not (form.invertible)
    assert not (form.is_blank(condition_map))
    assert np.array_equal(form.mirror(form.mirror(condition_map)), condition_map)
    assert np.array_equal(form.mirror(condition_map)[:, 0], condition_map[:, -1])
    assert np.array_equal(form.render_window(condition_map, 4, 8, WINDOW), form.crop(condition_map, WINDOW))
    assert not np.shares_memory(form.crop(condition_map, WINDOW), condition_map)
    assert (form.fidelity, form.statistic, form.find_oddity(condition_map)) == (None, None, None)
    with pytest.raises(ValueError, match=r"least\.bin holds no numbers"):
        form.place(condition_map, (16, 8), WINDOW)


def test_a_map_with_cells_belongs_to_one_crop() -> None:
    fine, coarse = Rgb("a.png", "a"), Rgb("b.png", "b", cell=16)
    assert (fine.from_crop, coarse.from_crop) == (False, True)
    condition_map = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(coarse.render(condition_map, 32, 32)[::16, ::16], condition_map)
    assert np.array_equal(coarse.render(condition_map, 32, 32)[15:32:16, 15:32:16], condition_map)
    with pytest.raises(ValueError, match="its picture's size"):
        fine.render(condition_map, 32, 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_repeated_in_each_channel(channels: int) -> None:
    condition_map = np.arange(32, dtype=np.uint8).reshape(4, 8)
    image = Grey("a.png", "a", channels).render(condition_map, 4, 8)
    assert image.shape == (4, 8, channels)
    assert all(np.array_equal(image[..., channel], condition_map) for channel in range(channels))


def test_mostly_white_is_odd_for_edges_alone() -> None:
    white, black = np.full((4, 4), 255, np.uint8), np.zeros((4, 4), np.uint8)
    edges, depth = Grey("a.png", "a", values="edges"), Grey("b.png", "b")
    assert "100% of it is white" in (edges.find_oddity(white) or "")
    assert edges.find_oddity(black) is depth.find_oddity(white) is None


@pytest.mark.parametrize(("share", "number"), [(0, 0), (0.25, 25), (0.999, 99), (1, 99)])
def test_edge_density_is_a_percentage_of_the_pixels(share: float, number: int) -> None:
    condition_map = np.repeat(np.uint8([128, 127]), [round(1000 * share), 1000 - round(1000 * share)]).reshape(
        20, 50
    )
    assert EDGE_DENSITY.measure(condition_map) == number
    assert EDGE_DENSITY.label(number) == f"{number} to {number + 1} %"
    assert number < EDGE_DENSITY.bins
