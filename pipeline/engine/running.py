"""The shards that are in progress, and which of them a second worker should start as well.

A worker may be slow: a bad disk, a busy neighbour, a node that no longer answers. Once no shard is waiting, an
idle worker starts a second copy of the shard that has been in progress longest, and the first copy to finish
counts. That is safe because a shard is committed only once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

COPIES = 2
"""How often a shard may be in progress at once."""
SLOW = 1.5
"""A shard is late when it has taken this many times the average of the others,"""
LATE = 30.0
"""and at least this many seconds."""


class Running:
    """clock: seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: dict[int, float] = {}
        self._single = OrderedDict[int, None]()
        """Those in progress once, the longest first."""
        self._copies = Counter[int]()
        self._stale = Counter[int]()
        self._seconds, self._made = 0.0, 0

    def __bool__(self) -> bool:
        return bool(self._begun)

    def begin(self, shard: int) -> None:
        """A worker is given the shard, or a second copy of it."""
        self._begun.setdefault(shard, self._clock())
        self._copies[shard] += 1
        if self._copies[shard] < COPIES:
            self._single[shard] = None
        else:
            self._single.pop(shard, None)

    def end(self, shard: int, made: bool) -> bool:
        """A worker has returned the shard. False if that changes nothing: another copy was made before, or this
        copy failed and another is still in progress."""
        if self._stale[shard]:
            self._stale[shard] -= 1
            return False
        self._copies[shard] -= 1
        if not made and self._copies[shard]:
            self._single[shard] = None
            return False
        begun = self._begun.pop(shard)
        self._single.pop(shard, None)
        if left := self._copies.pop(shard):
            self._stale[shard] = left
        if made:
            self._seconds, self._made = self._seconds + self._clock() - begun, self._made + 1
        return True

    def find_straggler(self) -> int | None:
        """The late shard that has been in progress longest and has no second copy yet."""
        if not self._made:
            return None
        oldest = next(iter(self._single), None)
        late = self._clock() - max(LATE, SLOW * self._seconds / self._made)
        return oldest if oldest is not None and self._begun[oldest] <= late else None
