"""The kernel distance is 0 for sets of one kind, however many, and grows with what differs."""

from __future__ import annotations

import numpy as np
import pytest

from t2i_shards.adapters.evaluation.kernel_distance import kernel_distance


@pytest.mark.parametrize("count", [10, 40, 160])
def test_it_has_no_bias_for_few(count: int) -> None:
    rng = np.random.default_rng(0)
    found = [kernel_distance(*rng.normal(size=(2, count, 5))) for _ in range(40)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 40**0.5 + 1e-3


def test_it_grows_with_what_differs() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(60, 5))
    found = [kernel_distance(rng.normal(size=(60, 5)) + away, real) for away in (0, 0.5, 1, 3)]
    assert found == sorted(found)
    assert kernel_distance(3 * rng.normal(size=(60, 5)), real) > 0.1  # of the same mean


def test_pairs_of_the_same_sample_do_not_count() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(40, 5))
    assert kernel_distance(real, real) < -0.02
    assert kernel_distance(real, real, paired=True) == pytest.approx(0, abs=1e-12)
    other = rng.normal(size=(40, 5))
    twice = kernel_distance(np.concatenate([real, other]), real, paired=True)
    assert abs(twice) < 0.02
