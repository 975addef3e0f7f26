"""Small reads of far places, several at once: each takes a round trip of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from t2i_shards.pipeline.shards.store import AT_ONCE

S = TypeVar("S")
T = TypeVar("T")

AHEAD = 64
"""What is begun before it is asked for, at most."""


def read_ahead(read: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """What is read of each, in order, AT_ONCE at once; only a few are read ahead, so that one may stop."""
    waiting = deque[Future[T]]()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(read, item))
                if len(waiting) == AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
