"""Arrays of 64-bit numbers in scratch files: the system moves them out of memory when that is needed elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

CHUNK = 1 << 18
"""Numbers that are worked on at once."""


def scratch_array(path: Path, *shape: int) -> np.ndarray:
    """uint64, zeros, of a shape. Raises OSError where the disk has no room for it.

    The room is taken at once: writing to a mapped file ends the process when the disk turns out to be full.
    """
    count = math.prod(shape)
    zeros = (np.zeros(min(CHUNK, count - at), np.uint64) for at in range(0, count, CHUNK))
    return write_array(path, zeros, *shape[1:])


def write_array(path: Path, parts: Iterable[np.ndarray], *row: int) -> np.ndarray:
    """uint64 (N, *row), one part after the other."""
    with open(path, "wb") as file:
        for part in parts:
            file.write(part.tobytes())  # `tofile` does not say why it fails
    return open_array(path, *row)


def open_array(path: Path, *row: int) -> np.ndarray:
    """uint64 (N, *row), of what is in a file."""
    shape = (path.stat().st_size // (8 * math.prod(row)), *row)
    return np.memmap(path, np.uint64, "r+", shape=shape) if shape[0] else np.zeros(shape, np.uint64)


def chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """The array, CHUNK rows at a time."""
    for at in range(0, len(values), CHUNK):
        yield values[at : at + CHUNK]


def distinct(ordered: np.ndarray) -> Iterator[np.ndarray]:
    """Each number of an ascending array once."""
    for part, new in _compare_neighbours(ordered):
        yield part[new]


def repeated(ordered: np.ndarray) -> Iterator[np.ndarray]:
    """Each number of an ascending array so often as it comes again."""
    for part, new in _compare_neighbours(ordered):
        yield part[~new]


def _compare_neighbours(ordered: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(a chunk, whether each of it differs from the one before it)"""
    for at in range(0, len(ordered), CHUNK):
        part = ordered[at : at + CHUNK]
        new = np.ones(len(part), bool)
        new[1:] = part[1:] != part[:-1]
        new[0] = at == 0 or part[0] != ordered[at - 1]
        yield part, new


def rank(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """int64 (N,): where each value is in an ascending array; -1 where it is not."""
    if not len(among):
        return np.full(len(values), -1)
    ranks = np.minimum(np.searchsorted(among, values), len(among) - 1)
    return np.where(among[ranks] == values, ranks, -1)
