"""Random choices that are the same on every machine.

Only `random_raw` of Philox is used: numpy promises that stream for ever, which it does not for the
distributions of `Generator`.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 256


class Rng:
    """Draws keyed by (seed, index); `stream` gives independent draws for the same key."""

    def __init__(self, seed: int, index: int, stream: int = 0) -> None:
        key = np.array([seed % 2**64, index % 2**64], dtype=np.uint64)
        counter = np.array([0, 0, 0, stream], dtype=np.uint64)
        self._source = np.random.Philox(key=key, counter=counter)
        self._left: list[float] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._left:
            raw = self._source.random_raw(_BLOCK) >> np.uint64(11)
            self._left = (raw * 2.0**-53).tolist()
        return self._left.pop()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def around(self, middle: float, spread: float) -> float:
        return middle + spread * (2 * self.unit() - 1)

    def chance(self, share: float) -> bool:
        return self.unit() < share

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.unit() * len(options))]

    def weigh(self, options: Mapping[T, float]) -> T:
        """One of the keys, each as often as its weight says."""
        left = self.unit() * sum(options.values())
        for option, weight in options.items():
            left -= weight
            if left < 0:
                return option
        return max(options, key=lambda option: options[option])  # rounding left a crumb
