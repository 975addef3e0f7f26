"""Intervals have their stated coverage, over samples and not over pictures; a difference uses the same draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from t2i_shards.adapters.evaluation.evaluate import find_verdict
from t2i_shards.adapters.evaluation.interval import Counts, estimate, estimate_difference


def share(right: np.ndarray) -> Counts:
    """Of 1: how many of the samples are right."""

    def measure(sums: np.ndarray) -> dict[str, float]:
        return {"share": float(sums[0] / sums[1]) if sums[1] else math.nan}

    return Counts(np.stack([right, np.ones_like(right)], axis=1), measure)


HALF = np.arange(400) % 2


def test_an_interval_is_as_wide_as_theory_says() -> None:
    found = estimate(share(HALF))["share"]
    assert found.value == 0.5
    assert (found.value - found.low, found.high - found.value) == pytest.approx([1.96 * 0.025] * 2, rel=0.15)
    quarter = estimate(share(HALF[:100]))["share"]
    assert quarter.high - quarter.low == pytest.approx(2 * (found.high - found.low), rel=0.15)


def test_it_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [estimate(share(rng.random(60) < 0.3))["share"] for _ in range(100)]
    assert 88 <= sum(each.low <= 0.3 <= each.high for each in found) <= 99


def test_more_pictures_of_the_same_samples_make_none_narrower() -> None:
    once, thrice = share(HALF), share(np.tile(HALF, 3)).fold(3)
    assert estimate(thrice)["share"] == estimate(once)["share"]


def test_a_difference_is_taken_on_the_same_draws() -> None:
    better = np.where(np.arange(400) < 40, 1, HALF)
    found = estimate_difference(share(better), share(HALF), "share")
    assert found is not None
    alone = estimate(share(HALF))["share"]
    assert found.high - found.low < 0.7 * (alone.high - alone.low)
    assert found.low > 0
    same = estimate_difference(share(HALF), share(HALF), "share")
    assert same is not None
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_what_is_undefined_has_no_interval() -> None:
    nothing = Counts(np.zeros((5, 2)), share(HALF).measure)
    assert estimate(nothing) == {}
    assert estimate_difference(nothing, share(HALF[:5]), "share") is None


@pytest.mark.parametrize(("condition", "name", "high"), [("seg", "miou", True), ("depth", "abs_rel", False)])
def test_a_condition_is_followed_only_if_the_whole_interval_is_better(
    condition: str, name: str, high: bool
) -> None:
    def counts(values: np.ndarray) -> Counts:
        return Counts(values[:, None], lambda sums: {name: float(sums[0]) / 400})

    sign = 1 if high else -1
    rng = np.random.default_rng(0)
    plain = rng.normal(0.5, 0.3, 400)
    for gain, followed in ((0.1, True), (0.0, False), (-0.1, False)):
        other = rng.normal(0.5 + sign * gain, 0.3, 400)
        verdict = find_verdict(condition, counts(other), counts(plain))
        assert verdict.followed == followed
        assert ("NOT followed" in verdict.line()) != followed
        assert verdict.gain is not None
        assert (verdict.gain.low > 0) == followed
    unknown = find_verdict(condition, Counts(np.zeros((4, 1)), lambda sums: {name: math.nan}), counts(plain[:4]))
    assert not unknown.followed
    assert "it cannot be said" in unknown.line()
