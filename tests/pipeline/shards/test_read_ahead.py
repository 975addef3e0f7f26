"""Small reads come in order, several at once, and only a few before they are asked for."""

from __future__ import annotations

from itertools import count
from threading import Barrier, Event, current_thread

import pytest

from t2i_shards.pipeline.shards.read_ahead import AHEAD, read_ahead
from t2i_shards.pipeline.shards.store import AT_ONCE


def test_in_order_and_at_once() -> None:
    together = Barrier(AT_ONCE, timeout=30)

    def read(number: int) -> int:
        together.wait()
        return number

    assert list(read_ahead(read, range(4 * AT_ONCE))) == list(range(4 * AT_ONCE))


def test_little_is_begun_that_is_not_asked_for() -> None:
    begun = list[int]()
    reads = read_ahead(begun.append, count())
    for _ in range(100):
        next(reads)
    reads.close()  # type: ignore[attr-defined]
    assert len(begun) <= 100 + AHEAD


def test_an_error_comes_in_its_place() -> None:
    reads = read_ahead(lambda number: 1 // number, (1, 0, 1))
    assert next(reads) == 1
    with pytest.raises(ZeroDivisionError):
        next(reads)


def test_whoever_stops_waits_for_no_read() -> None:
    """Nor does the end of the program, as after Control-C while a server is silent."""
    begun, answer, ended = Event(), Event(), list[bool]()

    def read(number: int) -> bool:
        if number:
            begun.set()
            ended.append(answer.wait(3))
        return current_thread().daemon

    reads = read_ahead(read, (0, 1))
    assert next(reads)
    assert begun.wait(30)
    reads.close()  # type: ignore[attr-defined]
    assert ended == []
    answer.set()
