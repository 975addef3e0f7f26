"""Work done ahead and work finished later: in order, bounded, and exceptions reach their caller."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from t2i_shards.pipeline.stages.prefetch import OrderedThreadPool, prefetch


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def counted(count: int, made: list[int]) -> Iterator[int]:
    for i in range(count):
        made.append(i)
        yield i


@pytest.mark.parametrize("depth", [0, 1, 2, 50])
def test_items_come_in_order_and_all_of_them(depth: int) -> None:
    assert list(prefetch(counted(20, []), depth)) == list(range(20))
    assert list(prefetch([], depth)) == []


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_no_more_than_the_depth_is_made_ahead(depth: int) -> None:
    made: list[int] = []
    ahead = prefetch(counted(20, made), depth)
    assert made == []
    for i in range(5):
        assert next(ahead) == i
        wait_until(lambda got=i: len(made) == got + 1 + depth)
        time.sleep(0.02)  # it could run on here
        assert len(made) == i + 1 + depth
    ahead.close()
    assert len(made) == 5 + depth


@pytest.mark.parametrize("depth", [0, 2])
def test_an_exception_comes_in_its_place(depth: int) -> None:
    def broken() -> Iterator[int]:
        yield 0
        yield 1
        raise ZeroDivisionError("third")

    ahead = prefetch(broken(), depth)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(ZeroDivisionError, match="third"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_results_come_in_order_whichever_is_finished_first(depth: int) -> None:
    taken: list[int] = []
    threads: set[int] = set()

    def slowest_first(i: int) -> int:
        time.sleep(0.02 / (i + 1))
        return i

    def take(i: int) -> None:
        threads.add(threading.get_ident())
        taken.append(i)

    with OrderedThreadPool(take, threads=3, depth=depth) as behind:
        for i in range(12):
            behind.call(slowest_first, i)
            assert len(taken) >= i + 1 - depth
    assert taken == list(range(12))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("depth", [0, 2])
def test_what_a_call_raises_comes_out_and_the_rest_is_dropped(depth: int) -> None:
    taken: list[int] = []

    def divide() -> None:
        with OrderedThreadPool(taken.append, threads=1, depth=depth) as behind:
            for i in (1, 2, 0, 4, 5):
                behind.call(lambda i: 4 // i, i)

    with pytest.raises(ZeroDivisionError):
        divide()
    assert taken == [4, 2]


def test_an_exception_of_the_block_is_not_hidden_by_an_earlier_one() -> None:
    def fail() -> None:
        with OrderedThreadPool(print, threads=1, depth=2) as behind:
            behind.call(lambda: 1 // 0)
            raise KeyError("block")

    with pytest.raises(KeyError, match="block"):
        fail()


def test_calls_that_have_not_begun_are_dropped_when_the_block_fails() -> None:
    begun: list[int] = []

    def work(i: int) -> None:
        begun.append(i)
        time.sleep(0.02)

    def fail() -> None:
        with OrderedThreadPool(print, threads=1, depth=50) as behind:
            for i in range(50):
                behind.call(work, i)
            raise KeyError("block")

    with pytest.raises(KeyError, match="block"):
        fail()
    assert len(begun) < 50


def wait_until(condition: object) -> None:
    limit = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.001)
