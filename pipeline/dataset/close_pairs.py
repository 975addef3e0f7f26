"""All pairs of 64-bit numbers that differ in a few bits: exact, and in bounded memory.

The bits are cut into blocks. Of m blocks at least m - d are equal where at most d bits differ, so numbers are
sorted by each choice of m - d blocks, and compared where these are equal (Manku, Jain and Das Sarma, "Detecting
near-duplicates for web crawling", 2007). More blocks make more sorts, and fewer comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb
from pathlib import Path

import numpy as np

from t2i_shards.pipeline.dataset.scratch_arrays import CHUNK, chunks, rank, write_array

MOST_NEAR = 8
"""Bits that may differ, at most: with more, nearly everything would be compared with everything."""
SORT = 8
"""What sorting a number costs, in comparisons of two of them."""
TABLE = 24
"""Leading bits of a key by which the table of keys that occur is indexed: it takes 16 MiB."""
SKEW = 8
"""Numbers that share a block are so many times more than if bits were drawn at random (of photographs' hashes)."""


@dataclass(frozen=True)
class _Sorting:
    """Numbers with their bits in another order: `blocks`, (first bit, bits), the highest first.

    key: how many of the first blocks must be equal. earlier: masks of the blocks of earlier sortings, in numbers
    as they were.
    """

    blocks: Sequence[tuple[int, int]]
    key: int
    earlier: tuple[int, ...]

    @property
    def rest(self) -> np.uint64:
        """How many bits there are behind the key."""
        return np.uint64(sum(bits for _, bits in self.blocks[self.key :]))

    def permute(self, values: np.ndarray) -> np.ndarray:
        return self._gather(values, len(self.blocks))

    def keys(self, values: np.ndarray) -> np.ndarray:
        """The first bits of each number's key, TABLE at most."""
        return self._gather(values, self.key) >> np.uint64(max(0, 64 - int(self.rest) - TABLE))

    def _gather(self, values: np.ndarray, blocks: int) -> np.ndarray:
        out = np.zeros_like(values)
        for first, bits in self.blocks[:blocks]:
            out = out << np.uint64(bits) | values >> np.uint64(first) & np.uint64((1 << bits) - 1)
        return out

    def restore(self, values: np.ndarray) -> np.ndarray:
        out, last = np.zeros_like(values), 64
        for first, bits in self.blocks:
            last -= bits
            out |= (values >> np.uint64(last) & np.uint64((1 << bits) - 1)) << np.uint64(first)
        return out


def _plan_sortings(count: int, near: int) -> list[_Sorting]:
    """The cheapest sortings for so many numbers."""

    def cost(blocks: int) -> float:
        key = 64 * (blocks - near) // blocks
        return comb(blocks, near) * (SORT + count * SKEW / (1 << key))

    number = min(range(near + 1, near + 5), key=cost)
    edges = [64 * i // number for i in range(number + 1)]
    blocks = [(first, last - first) for first, last in pairwise(edges)]
    sortings, masks = list[_Sorting](), list[int]()
    for chosen in combinations(range(number), number - near):
        others = [i for i in range(number) if i not in chosen]
        sortings.append(_Sorting([blocks[i] for i in (*chosen, *others)], len(chosen), tuple(masks)))
        masks.append(sum(((1 << blocks[i][1]) - 1) << blocks[i][0] for i in chosen))
    return sortings


def close_pairs(values: np.ndarray, near: int, scratch: Path) -> Iterator[np.ndarray]:
    """uint64 (n, 2), some pairs at a time: each pair that differs in 1 to `near` bits once, in no order.

    values: uint64 (N,), each once. near: 1 to MOST_NEAR. scratch: a folder.
    """
    for sorting in _plan_sortings(len(values), near):
        ordered = write_array(scratch / "sorting", map(sorting.permute, chunks(values)))
        ordered.sort()
        for at in range(0, len(values), CHUNK):
            yield from _compare(ordered, np.arange(at, min(at + CHUNK, len(values))), sorting, near)


def close_pairs_with(fresh: np.ndarray, values: np.ndarray, near: int, scratch: Path) -> Iterator[np.ndarray]:
    """Those of `close_pairs(values, near, scratch)` in which one is of `fresh`, some of the values, ascending."""
    for sorting in _plan_sortings(len(fresh), near):
        ordered = write_array(scratch / "sorting", map(sorting.permute, chunks(fresh)))
        ordered.sort()
        there = np.zeros(1 << min(TABLE, 64 - int(sorting.rest)), bool)
        for part in chunks(fresh):
            there[sorting.keys(part)] = True
        for part in chunks(values):
            found = sorting.permute(part[there[sorting.keys(part)]])
            for pairs in _look_up(found, ordered, sorting, near):
                both = rank(pairs[:, 0], fresh) >= 0
                yield pairs[~both | (pairs[:, 0] < pairs[:, 1])]


def _look_up(values: np.ndarray, ordered: np.ndarray, sorting: _Sorting, near: int) -> Iterator[np.ndarray]:
    """Each value against the first of `ordered` that has its key, then against the one after it, and so on."""
    at = np.searchsorted(ordered, values >> sorting.rest << sorting.rest)
    while len(values):
        at, values = at[at < len(ordered)], values[at < len(ordered)]
        differ = values ^ ordered[at]
        same = differ >> sorting.rest == 0
        values, at, differ = values[same], at[same], differ[same]
        found = np.flatnonzero((differ != 0) & (np.bitwise_count(differ) <= near))
        yield from _restore_new(values[found], differ[found], sorting)
        at = at + 1


def _compare(ordered: np.ndarray, one: np.ndarray, sorting: _Sorting, near: int) -> Iterator[np.ndarray]:
    """Each of `one` against its neighbour, then against the one after it, for as long as they share the key."""
    step = 0
    while len(one):
        step += 1
        one = one[: np.searchsorted(one, len(ordered) - step)]
        differ = ordered[one] ^ ordered[one + step]
        same = differ >> sorting.rest == 0
        one, differ = one[same], differ[same]
        found = np.flatnonzero(np.bitwise_count(differ) <= near)
        yield from _restore_new(ordered[one[found]], differ[found], sorting)


def _restore_new(values: np.ndarray, differ: np.ndarray, sorting: _Sorting) -> Iterator[np.ndarray]:
    """The pairs of these values and what differs from them so, without those that an earlier sorting has found."""
    if len(values):
        where = sorting.restore(differ)
        for mask in sorting.earlier:
            new = where & np.uint64(mask) != 0
            values, where = values[new], where[new]
        left = sorting.restore(values)
        yield np.stack([left, left ^ where], axis=1)
