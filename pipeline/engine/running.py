"""The shards that are in progress, and which of them another worker should start as well.

A worker may be slow: a bad disk, a busy neighbour, a node that no longer answers. Once no shard is waiting, an
idle worker starts a second copy of the shard that has been in progress longest, a third where that one is late as
well, and the first copy to finish counts. That is safe because a shard is committed only once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

COPIES = 3
"""How often a shard may be in progress at once."""
LATE = 30.0
"""A shard is late when its newest copy has taken longer than the others on average, and this many seconds:
since a worker began it, or since a node was given it if it still waits there."""


class Running:
    """clock: seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: dict[int, float] = {}
        self._newest = OrderedDict[int, float]()
        """When the newest copy of a shard was begun, the longest ago first; without those that have all copies."""
        self._copies = Counter[int]()
        self._stale = Counter[int]()
        self._seconds, self._made = 0.0, 0

    def __bool__(self) -> bool:
        return bool(self._begun)

    def begin(self, shard: int) -> None:
        """A worker, or its node, is given the shard or a second copy of it."""
        self._begun.setdefault(shard, self._clock())
        self._copies[shard] += 1
        self._newest.pop(shard, None)
        if self._copies[shard] < COPIES:
            self._newest[shard] = self._clock()

    def start_clock(self, shard: int) -> None:
        """A worker has begun the shard, which had to wait behind another: its time counts from now."""
        if self._copies[shard] == 1:
            self._begun[shard] = self._clock()
            self._newest.pop(shard, None)
            self._newest[shard] = self._clock()

    def end(self, shard: int, made: bool) -> bool:
        """A worker has returned the shard. False if that changes nothing: another copy was made before, or this
        copy failed and another is still in progress."""
        if self._stale[shard]:
            self._stale[shard] -= 1
            return False
        self._copies[shard] -= 1
        if not made and self._copies[shard]:
            self._newest.setdefault(shard, self._clock())
            return False
        begun = self._begun.pop(shard)
        self._newest.pop(shard, None)
        if left := self._copies.pop(shard):
            self._stale[shard] = left
        if made:
            self._seconds, self._made = self._seconds + self._clock() - begun, self._made + 1
        return True

    def find_straggler(self) -> int | None:
        """The late shard whose newest copy has been in progress longest."""
        if not self._made or not self._newest:
            return None
        shard, begun = next(iter(self._newest.items()))
        return shard if begun <= self._clock() - max(LATE, self._seconds / self._made) else None
