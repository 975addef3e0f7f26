"""A value that many threads ask for, made by one of them and kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from t2i_shards.pipeline.download.deadline import Deadline
from t2i_shards.pipeline.download.reasons import SHARD_SPENT, TIMED_OUT, FetchError

T = TypeVar("T")


class TtlValue(Generic[T]):
    """The first to ask makes the value; the others wait for it within their own deadlines.

    A FetchError is kept like a value, unless it only says that its maker's time was up.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0
        self._made: tuple[T | None, FetchError | None] = (None, None)
        self._lock = threading.Lock()

    def get(self, make: Callable[[], T], deadline: Deadline) -> T:
        """The value, from `make` when none is kept. Raises the FetchError that `make` raised."""
        if not self._lock.acquire(timeout=deadline.left()):
            raise deadline.missed()
        try:
            if time.monotonic() >= self._until:
                self._made = self._make(make)
                self._until = time.monotonic() + self._seconds
            value, error = self._made
        finally:
            self._lock.release()
        if error is not None:
            raise FetchError(error.reason)
        return value  # type: ignore[return-value]

    def _make(self, make: Callable[[], T]) -> tuple[T | None, FetchError | None]:
        try:
            return make(), None
        except FetchError as error:
            if error.reason in (TIMED_OUT, SHARD_SPENT):
                raise
            return None, error
