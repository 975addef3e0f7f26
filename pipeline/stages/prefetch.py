"""Concurrent work: what comes next is made ahead, and what was begun is awaited in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END = object()


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items in order, made on a thread of their own, at most `depth` of them ahead of the caller.

    An exception of theirs comes out in its place. Close the iterator to stop the thread early. With a depth of 0
    they are made when asked for, on the caller's thread.
    """
    if not depth:
        yield from items
        return
    room, made, stopped = Semaphore(depth), SimpleQueue[tuple[Any, BaseException | None]](), False

    def make() -> None:
        source = iter(items)
        while True:
            room.acquire()
            if stopped:
                return
            try:
                made.put((next(source, _END), None))
            except BaseException as error:
                made.put((_END, error))
                return

    thread = Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is _END:
                return
            room.release()
            yield item
    finally:
        stopped = True
        room.release()
        thread.join()


class OrderedThreadPool(Generic[T]):
    """Calls that run on `threads` threads while at most `depth` of them are waited for; results come in order.

    `then` gets each result on the caller's thread, in the order of the calls, whichever is finished first. With a
    depth of 0 a call runs at once, on the caller's thread. Leaving the block awaits them all; leaving it by an
    exception drops those that have not begun.
    """

    def __init__(self, then: Callable[[T], None], threads: int, depth: int) -> None:
        self._then, self._depth = then, depth
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="behind")
        self._waiting: deque[Future[T]] = deque()

    def call(self, work: Callable[..., T], *args: Any) -> None:
        """`then(work(*args))`, later. Raises what an earlier call or its `then` raised."""
        if not self._depth:
            self._then(work(*args))
            return
        while len(self._waiting) >= self._depth:
            self._then(self._waiting.popleft().result())
        self._waiting.append(self._pool.submit(work, *args))

    def __enter__(self) -> OrderedThreadPool[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._waiting and error is None:
                self._then(self._waiting.popleft().result())
        finally:
            self._pool.shutdown(cancel_futures=True)
