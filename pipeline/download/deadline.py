"""Time and bytes that are left, for one URL and for the shard it belongs to."""

from __future__ import annotations

import threading
import time

from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.reasons import SHARD_SPENT, TIMED_OUT, FetchError

ROOM = 1 << 30
"""Bytes of pictures that one worker holds at most while it downloads: what decoding one of them may take later."""


class Budget:
    """What the downloads of one shard may still use."""

    def __init__(self, limits: Limits) -> None:
        self.ends = time.monotonic() + limits.shard_seconds
        self._left = limits.shard_bytes
        self._lock = threading.Lock()
        self._held, self._given_back = 0, threading.Condition()

    def hold(self, size: int, deadline: Deadline) -> None:
        """Wait until a body of `size` bytes fits in ROOM with those that are held. FetchError when time is out.

        One that is larger than ROOM is held alone.
        """
        with self._given_back:
            while self._held and self._held + size > ROOM:
                if not self._given_back.wait(deadline.left()):
                    raise deadline.missed()
            self._held += size

    def give_back(self, size: int) -> None:
        """So many bytes are no longer in memory."""
        with self._given_back:
            self._held -= size
            self._given_back.notify_all()

    def charge(self, count: int) -> None:
        """Take `count` bytes off. FetchError once there are none."""
        with self._lock:
            self._left -= count
        self.check()

    def check(self) -> None:
        """FetchError when the shard may bring in nothing more."""
        if self._left <= 0:
            raise FetchError(SHARD_SPENT)


class Deadline:
    """When one URL has to be done with, at the end of its shard at the latest."""

    def __init__(self, seconds: float, budget: Budget) -> None:
        self.budget = budget
        self._ends = min(time.monotonic() + seconds, budget.ends)

    def left(self) -> float:
        """Seconds left, above 0. FetchError when there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def fits(self, seconds: float) -> bool:
        """Whether something that takes so long may still be begun."""
        return time.monotonic() + seconds < self._ends

    def missed(self) -> FetchError:
        """What to raise when the wait for something was in vain."""
        return FetchError(SHARD_SPENT if self._ends == self.budget.ends else TIMED_OUT)
