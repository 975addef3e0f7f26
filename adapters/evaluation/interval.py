"""How certain a measure over a set of samples is: bootstrap intervals (Efron 1979).

The samples are redrawn many times, with replacement; the interval reaches from the 2.5th to the 97.5th percentile
of the measure over these draws. Two sets of pictures of the same samples are compared on the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

DRAWS = 1000
LEVEL = 0.95
SEED = 0


@dataclass(frozen=True)
class Counts:
    """What a measure is made of. per_sample: (N, D). measure: their sum, (D,), -> measures by name."""

    per_sample: np.ndarray
    measure: Callable[[np.ndarray], Mapping[str, float]]

    def values(self) -> dict[str, float]:
        """Of all samples; what is undefined is left out."""
        found = self.measure(self.per_sample.sum(axis=0))
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def fold(self, times: int) -> Counts:
        """Of samples that come `times` in a row, all of them each time, added up."""
        return Counts(self.per_sample.reshape(times, -1, self.per_sample.shape[1]).sum(axis=0), self.measure)

    def draw_values(self, name: str) -> np.ndarray:
        """float64 (DRAWS,): one measure of each draw, NaN where it is undefined. The same draws for every N."""
        count = len(self.per_sample)
        weights = np.random.default_rng(SEED).multinomial(count, [1 / count] * count, size=DRAWS)
        return np.array([self.measure(total).get(name, math.nan) for total in weights @ self.per_sample])


@dataclass(frozen=True)
class Estimate:
    """A value and the interval that holds it with `LEVEL`."""

    value: float
    low: float
    high: float


def estimate(counts: Counts) -> dict[str, Estimate]:
    """Each measure that is defined."""
    return {name: Estimate(value, *_bounds(counts.draw_values(name))) for name, value in counts.values().items()}


def estimate_difference(first: Counts, second: Counts, name: str) -> Estimate | None:
    """Of a measure, first minus second; None where it is undefined. The samples of both are the same."""
    one, other = first.values().get(name), second.values().get(name)
    if one is None or other is None:
        return None
    return Estimate(one - other, *_bounds(first.draw_values(name) - second.draw_values(name)))


def _bounds(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)
