"""Arrays in files: what is found in chunks is what is found at once."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.pipeline.dataset import scratch_arrays
from t2i_shards.pipeline.dataset.scratch_arrays import chunks, distinct, rank, repeated, scratch_array, write_array


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_in_chunks_as_at_once(chunk: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_arrays, "CHUNK", chunk)
    values = np.sort(np.random.default_rng(count).integers(0, 15, count).astype(np.uint64))
    stored = write_array(tmp_path / "values", chunks(values))
    assert stored.tolist() == values.tolist()
    once, times = np.unique(values, return_counts=True)
    assert write_array(tmp_path / "distinct", distinct(stored)).tolist() == once.tolist()
    again = write_array(tmp_path / "repeated", repeated(stored)).tolist()
    assert again == np.repeat(once, times - 1).tolist()


def test_rows_of_several_numbers(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.uint64).reshape(3, 4)
    assert write_array(tmp_path / "rows", [rows[:1], rows[1:]], 4).tolist() == rows.tolist()
    assert write_array(tmp_path / "none", [], 4).shape == (0, 4)
    assert scratch_array(tmp_path / "zeros", 2, 3).tolist() == [[0, 0, 0]] * 2
    assert scratch_array(tmp_path / "empty", 0, 3).shape == (0, 3)


def test_ranks() -> None:
    among = np.array([2, 5, 9], np.uint64)
    assert rank(np.array([5, 1, 9, 10, 2], np.uint64), among).tolist() == [1, -1, 2, -1, 0]
    assert rank(np.array([[5, 9]], np.uint64), among).tolist() == [[1, 2]]
    assert rank(np.array([5], np.uint64), among[:0]).tolist() == [-1]


@pytest.mark.usefixtures("no_room")
def test_no_room_has_its_reason(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        write_array(tmp_path / "numbers", [np.ones(200, np.uint64)])


def test_room_is_taken_at_once(tmp_path: Path) -> None:
    """A mapped file whose blocks are missing ends the process by a signal when the disk is full."""
    scratch_array(tmp_path / "zeros", 10000)
    assert (tmp_path / "zeros").stat().st_blocks * 512 >= 80000
