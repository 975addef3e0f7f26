"""The shards that workers are working on, and which of them another worker should do as well.

A worker may be slow: a bad disk, a busy neighbour, a node that has stopped to answer. Once no shard waits and a
worker is free, it does a second copy of the shard that is under way longest; the first to be done counts. That is
safe, since a shard is committed once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

COPIES = 2
"""A shard is under way at most so many times."""
SLOW = 1.5
"""A shard is late when it has taken so many times as long as shards do on the average, and at least"""
LATE = 30.0
"""so many seconds."""


class Running:
    """clock: seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = OrderedDict[int, float]()
        self._copies = Counter[int]()
        self._stale = Counter[int]()
        self._seconds, self._made = 0.0, 0

    def __bool__(self) -> bool:
        return bool(self._begun)

    def begin(self, shard: int) -> None:
        """A worker is given the shard, or a second copy of it."""
        self._begun.setdefault(shard, self._clock())
        self._copies[shard] += 1

    def end(self, shard: int, made: bool) -> bool:
        """A worker has given the shard back. False where that is of no account: another copy was made before, or
        this one was not and another is under way."""
        if self._stale[shard]:
            self._stale[shard] -= 1
            return False
        self._copies[shard] -= 1
        if not made and self._copies[shard]:
            return False
        begun = self._begun.pop(shard)
        self._stale[shard] = self._copies.pop(shard)
        if made:
            self._seconds, self._made = self._seconds + self._clock() - begun, self._made + 1
        return True

    def find_straggler(self) -> int | None:
        """The shard that is under way longest, where it is late and has no second copy yet."""
        if not self._made:
            return None
        late = self._clock() - max(LATE, SLOW * self._seconds / self._made)
        for shard, begun in self._begun.items():
            if begun > late:
                return None
            if self._copies[shard] < COPIES:
                return shard
        return None
