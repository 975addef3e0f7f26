"""A fixed number of the rows that pass, whatever their number: exact, reproducible, in 32 MiB.

Every row has a priority that is a pure function of seed and position, and those with the lowest are taken. A first
look at all rows counts priorities by their leading 22 bits and so finds where to cut; a second hands out the rows.
Hence neither batches nor row groups change the sample, and a smaller sample of the same seed lies in a larger one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BITS = 22
MASK = (1 << 64) - 1


def buckets_of(seed: int, start: int, count: int) -> np.ndarray:
    """int64 (count,): the leading bits of the priorities of the rows from position `start`."""
    with np.errstate(over="ignore"):
        positions = np.arange(start, start + count, dtype=np.uint64)
        mixed = _mix(positions + _mix(np.array([seed & MASK], np.uint64)))
    return (mixed >> np.uint64(64 - BITS)).astype(np.int64)


def _mix(x: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele, Lea and Flood 2014), on uint64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: np.ndarray = x ^ (x >> np.uint64(31))
    return out


@dataclass
class Cut:
    """All rows of the buckets below `bucket` are in, and of that bucket the first `rest`."""

    bucket: int
    rest: int

    def take(self, buckets: np.ndarray) -> np.ndarray:
        """bool (N,): which of these rows are in. Asked once for all rows, in their order."""
        taken: np.ndarray = buckets < self.bucket
        edge = np.flatnonzero(buckets == self.bucket)[: self.rest]
        taken[edge] = True
        self.rest -= len(edge)
        return taken


class BucketCounts:
    """How many rows have which leading bits."""

    def __init__(self) -> None:
        self._counts = np.zeros(1 << BITS, np.int64)
        self.rows = 0

    def add(self, buckets: np.ndarray) -> None:
        np.add.at(self._counts, buckets, 1)
        self.rows += len(buckets)

    def cut(self, samples: int) -> Cut:
        """Where to cut so that exactly `samples` rows are in, or all where there are no more."""
        if self.rows <= samples:
            return Cut(1 << BITS, 0)
        below = np.cumsum(self._counts)
        bucket = int(np.searchsorted(below, samples))
        return Cut(bucket, samples - int(below[bucket] - self._counts[bucket]))
