"""Every pair that differs in a few bits is found, once, whatever the numbers of blocks and chunks."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.pipeline.dataset import close_pairs as module
from t2i_shards.pipeline.dataset import scratch_arrays
from t2i_shards.pipeline.dataset.close_pairs import MOST_NEAR, close_pairs, close_pairs_with


def draw_numbers(most: int) -> np.ndarray:
    """uint64 (N,), each once: some alone, some 1 to `most` bits from another, some equal in their upper half."""
    random = np.random.default_rng(most)
    centres = random.integers(0, 1 << 63, 200, dtype=np.uint64).tolist()
    values = [*centres, *range(50)]
    for centre in centres[:150]:
        bits = random.choice(64, random.integers(1, most + 1), replace=False)
        values.append(centre ^ sum(1 << int(bit) for bit in bits))
    return np.unique(np.array(values, np.uint64))


@pytest.mark.parametrize("near", range(1, MOST_NEAR + 1))
def test_every_close_pair_is_found_once_and_no_other(near: int, tmp_path: Path) -> None:
    values = draw_numbers(2 * near)
    found = [tuple(sorted(pair)) for part in close_pairs(values, near, tmp_path) for pair in part.tolist()]
    pairs = itertools.combinations(values.tolist(), 2)
    assert sorted(found) == [(a, b) for a, b in pairs if (a ^ b).bit_count() <= near]
    assert len(found) > 50


@pytest.mark.parametrize("count", [1_000, 10_000_000, 400_000_000])
def test_more_numbers_are_cut_into_more_blocks(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = module._plan_sortings(100, 4)
    many = module._plan_sortings(count, 4)
    assert len(many) >= len(few)
    # What is compared of random numbers, by the bits of the keys, is a few times the numbers at most.
    assert all(count >> (64 - int(sorting.rest)) <= 4 for sorting in many)
    values = draw_numbers(8)
    usual = {tuple(sorted(pair)) for part in close_pairs(values, 4, tmp_path) for pair in part.tolist()}
    monkeypatch.setattr(module, "_plan_sortings", lambda *_: many)
    monkeypatch.setattr(module, "CHUNK", 101)
    monkeypatch.setattr(scratch_arrays, "CHUNK", 97)
    found = [tuple(sorted(pair)) for part in close_pairs(values, 4, tmp_path) for pair in part.tolist()]
    assert len(found) == len(usual)
    assert set(found) == usual


@pytest.mark.parametrize(
    ("near", "count"), [(1, 0), (1, 10_000_000), (4, 0), (4, 10_000_000), (MOST_NEAR, 0), (MOST_NEAR, 10_000)]
)
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_pairs_with_some_of_the_numbers(
    near: int, share: float, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the numbers are cut into."""
    values = draw_numbers(2 * near)
    fresh = values[np.random.default_rng(near).random(len(values)) < share]
    every = {tuple(sorted(pair)) for part in close_pairs(values, near, tmp_path) for pair in part.tolist()}
    sortings = module._plan_sortings(count or len(fresh), near)
    monkeypatch.setattr(module, "_plan_sortings", lambda *_: sortings)
    monkeypatch.setattr(scratch_arrays, "CHUNK", 97)
    found = [
        tuple(sorted(pair)) for part in close_pairs_with(fresh, values, near, tmp_path) for pair in part.tolist()
    ]
    assert sorted(found) == sorted(pair for pair in every if not set(pair).isdisjoint(fresh.tolist()))
