"""Small reads of far places, several at once: each takes a round trip of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from t2i_shards.pipeline.shards.store import AT_ONCE

S = TypeVar("S")
T = TypeVar("T")

AHEAD = 64
"""What is begun before it is asked for, at most."""


def read_ahead(read: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """What is read of each, in order, AT_ONCE at once; only a few are read ahead, so that one may stop."""
    waiting, tasks = deque[Future[T]](), SimpleQueue[tuple[S, Future[T]] | None]()

    def work() -> None:
        while task := tasks.get():
            item, future = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(read(item))
                except BaseException as error:
                    future.set_exception(error)

    # Not the threads of an executor, for which Control-C would wait as long as a server is silent.
    for _ in range(AT_ONCE):
        Thread(target=work, daemon=True, name="read ahead").start()
    try:
        for item in items:
            waiting.append(Future())
            tasks.put((item, waiting[-1]))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        for _ in range(AT_ONCE):
            tasks.put(None)
