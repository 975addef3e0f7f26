"""Which pictures are duplicates of which earlier ones, by their digests and perceptual hashes.

What is known of each picture is in scratch files, so memory grows with the duplicates alone.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from t2i_shards.pipeline.dataset.close_pairs import close_pairs, close_pairs_with
from t2i_shards.pipeline.dataset.fingerprints import UNKNOWN, Fingerprints
from t2i_shards.pipeline.dataset.scratch_arrays import (
    CHUNK,
    chunks,
    distinct,
    rank,
    repeated,
    scratch_array,
    write_array,
)

NEAR_256 = 40
"""Bits of 256 in which the longer hashes of two pictures that look the same may differ as well. Of 10,000 simple
scenes, no two of them the same, 97 pairs differ in 4 of 64 bits or fewer, and all of these in 50 or more of 256;
photographs that are shrunk to a quarter, saved at quality 30, brighter, greyer or warmer differ in 12 or fewer."""
VARIED = 16
"""Bits of 64 that must be set in a hash, else the picture is compared by file alone. Nearly every photograph has
32; a flat colour 0 or 1, a gradient, halves, stripes or a line 1 to 9, whatever their colours. Drawings that are
symmetric to the pixel may have fewer than 16 too: a square in the middle 5, a flag with a cross 15."""
EXACT = -1
"""In place of the bits that differ: the files are the same."""


@dataclass(frozen=True)
class Marked:
    """The first `count` pictures, which were compared before. find: index -> the number of its mark, if any."""

    count: int
    find: Callable[[int], int | None]


NONE_MARKED = Marked(0, lambda _: None)


def match(
    prints: Fingerprints, near: int, scratch: Path, marked: Marked = NONE_MARKED
) -> Iterator[tuple[int, int, int]]:
    """(index, index of the earlier picture it is a duplicate of, bits that differ or EXACT), indices ascending.

    Each picture is compared with the earlier ones that are no duplicates themselves. It belongs to the one with
    the same file, or with a duplicate of this file; else, if it is VARIED, to the nearest in at most `near` bits
    of its hash whose longer hash is near too, and to the earliest of several. near: 0 for the same file alone.
    scratch: a folder.

    marked: pictures that are not given again. A picture whose file is that of one of them that is itself a
    duplicate belongs to what that one is marked as a duplicate of: in place of the index comes the number of all
    pictures plus the number of that mark.
    """
    files, kept = _Files(prints, scratch, marked.count), _Kept(prints, near, scratch, marked.count)
    for at in range(0, len(prints.hashes), CHUNK):
        part = slice(at, at + CHUNK)
        same, looks = rank(prints.files[part, 0], files.starts), rank(prints.hashes[part], kept.hashes)
        for i in np.flatnonzero((same >= 0) | (looks >= 0)).tolist():
            index, file, look = at + i, int(same[i]), int(looks[i])
            of = files.find(index, file) if file >= 0 else None
            if index < marked.count:
                mark = marked.find(index)
                if look >= 0 and mark is None:
                    kept.add(index, look)
                if file >= 0 and of is None:
                    files.add(index, file, index if mark is None else len(prints.hashes) + mark)
                continue
            if of is not None:
                yield index, of, EXACT
                continue
            near_to = kept.find(index, look) if look >= 0 else None
            if near_to:
                yield index, near_to[1], near_to[0]
            elif look >= 0:
                kept.add(index, look)
            if file >= 0:
                files.add(index, file, near_to[1] if near_to else index)


class _Files:
    """The files so far whose digest begins like another picture's, where one of the two is not among the first.

    first: how many pictures were compared before.
    starts: uint64 (N,), ascending: these beginnings; elsewhere a file is named by the position of its own here.
    """

    def __init__(self, prints: Fingerprints, scratch: Path, first: int) -> None:
        self._prints = prints
        ordered = _sort(scratch / "files", chunks(prints.files[:, 0]))
        again: Iterator[np.ndarray] = repeated(ordered)
        if first:
            again = _among(again, _sort(scratch / "fresh files", chunks(prints.files[first:, 0])))
        starts = write_array(scratch / "starts", distinct(write_array(scratch / "again", again)))
        self.starts = starts[1:] if len(starts) and starts[0] == 0 else starts
        self._first = scratch_array(scratch / "first", len(self.starts), 2)
        """The index + 1 of the first picture whose file begins so, and the index of the one it belongs to."""
        self._others: dict[bytes, int] = {}
        """Of other files that begin so, which only comes to be where somebody looks for them."""

    def find(self, index: int, file: int) -> int | None:
        """The index of the picture to which one of the same file belongs."""
        first, of = self._first[file].tolist()
        if first and np.array_equal(self._prints.files[first - 1], self._prints.files[index]):
            return int(of)
        return self._others.get(self._prints.files[index].tobytes())

    def add(self, index: int, file: int, of: int) -> None:
        if self._first[file, 0]:
            self._others[self._prints.files[index].tobytes()] = of
        else:
            self._first[file] = index + 1, of


class _Kept:
    """The pictures so far that are no duplicates and whose hash is near to another picture's, or the same, where
    one of the two is not among the first.

    first: how many pictures were compared before.
    hashes: uint64 (N,), ascending: these hashes; elsewhere a hash is named by its position here.
    """

    def __init__(self, prints: Fingerprints, near: int, scratch: Path, first: int) -> None:
        self._prints = prints
        ordered = _sort(scratch / "ordered", _varied(prints.hashes)) if near else np.zeros(0, np.uint64)
        every, again = write_array(scratch / "distinct", distinct(ordered)), repeated(ordered)
        if first and near:
            of_others = _sort(scratch / "of others", _varied(prints.hashes[first:]))
            fresh = write_array(scratch / "fresh", distinct(of_others))
            found, again = close_pairs_with(fresh, every, near, scratch), _among(again, fresh)
        else:
            found = close_pairs(every, near, scratch)
        pairs = write_array(scratch / "pairs", found, 2)
        looks = _sort(scratch / "looks", chain(chunks(pairs.reshape(-1)), again))
        self.hashes = write_array(scratch / "hashes", distinct(looks))
        self._links = _sort(scratch / "links", self._link(pairs))
        """(a hash << 32) + one that is near to it, ascending."""
        self._first = scratch_array(scratch / "kept", len(self.hashes))
        """The index of the first picture of each hash + 1, or 0; others differ from it in their longer hash."""
        self._others: dict[int, array[int]] = defaultdict(lambda: array("q"))

    def _link(self, pairs: np.ndarray) -> Iterator[np.ndarray]:
        for part in chunks(pairs):
            one, other = rank(part, self.hashes).astype(np.uint64).T
            yield one << np.uint64(32) | other
            yield other << np.uint64(32) | one

    def add(self, index: int, look: int) -> None:
        if self._first[look]:
            self._others[look].append(index)
        else:
            self._first[look] = index + 1

    def find(self, index: int, look: int) -> tuple[int, int] | None:
        """(bits that differ, index) of the nearest."""
        found: list[tuple[int, int]] = []
        begin, end = np.searchsorted(self._links, np.array([look, look + 1], np.uint64) << np.uint64(32))
        for near in (look, *(self._links[begin:end] & np.uint64(0xFFFFFFFF)).tolist()):
            if self._first[near]:
                there = np.array([int(self._first[near]) - 1])
                if near in self._others:
                    there = np.append(there, np.asarray(self._others[near]))
                there = there[_confirm(self._prints.hashes_256, index, there)]
                bits = int(np.bitwise_count(self.hashes[look] ^ self.hashes[near]))
                found += [(bits, int(first)) for first in there[:1]]
        return min(found, default=None)


def _confirm(hashes: np.ndarray, index: int, others: np.ndarray) -> np.ndarray:
    """bool (n,): whether the longer hashes of a picture and of these others are near, or not known."""
    mine, theirs = hashes[index], hashes[others]
    differ = np.bitwise_count(mine ^ theirs).sum(1, dtype=np.int64)
    near: np.ndarray = (differ <= NEAR_256) | (theirs == UNKNOWN).all(1) | (mine == UNKNOWN).all()
    return near


def _varied(hashes: np.ndarray) -> Iterator[np.ndarray]:
    return (part[np.bitwise_count(part) >= VARIED] for part in chunks(hashes))


def _among(parts: Iterator[np.ndarray], ordered: np.ndarray) -> Iterator[np.ndarray]:
    """The numbers that are in an ascending array."""
    return (part[rank(part, ordered) >= 0] for part in parts)


def _sort(path: Path, parts: Iterator[np.ndarray]) -> np.ndarray:
    values = write_array(path, parts)
    values.sort()
    return values
