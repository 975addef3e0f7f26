"""What is known of each host: its addresses, how many connections it has, and until when to leave it alone."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from protego import Protego

from t2i_shards.pipeline.download.backoff import spread
from t2i_shards.pipeline.download.deadline import Deadline
from t2i_shards.pipeline.download.reasons import SHARD_SPENT, TIMED_OUT, FetchError

T = TypeVar("T")

KEPT = 4096
"""Hosts that are remembered, those last asked; the rows of a web-scale plan name millions."""
ADDRESS_SECONDS = 60.0
"""How long a look-up serves. Names that move faster than this are names that mean no good."""
ROBOTS_SECONDS = 24 * 3600.0
"""RFC 9309, section 2.4."""
LONGEST_HOLD = 3600.0
"""A host that asks for more than an hour's rest gets an hour."""


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


class Host:
    """One host. Connections to it go through `connection`, so that it is never pressed."""

    def __init__(self, connections: int) -> None:
        self.users = 0
        self.addresses: TtlValue[Sequence[str]] = TtlValue(ADDRESS_SECONDS)
        self._robots: dict[str, TtlValue[Protego]] = {}
        self._slots = threading.Semaphore(connections)
        self._rests_until = 0.0
        self._rests_for = ""

    def robots(self, origin: str) -> TtlValue[Protego]:
        """The rules of `origin` (scheme and authority), which a host may have several of."""
        return self._robots.setdefault(origin, TtlValue(ROBOTS_SECONDS))

    def rest(self, seconds: float, reason: str) -> None:
        """Make no requests to the host for a while, because it answered `reason`."""
        until = time.monotonic() + min(seconds, LONGEST_HOLD)
        if until > self._rests_until:
            self._rests_until, self._rests_for = until, reason

    @contextmanager
    def connection(self, deadline: Deadline) -> Iterator[None]:
        """One of the host's connections. FetchError when none is free in time.

        Where the host asked for more rest than there is time, the reason is what it answered then, at once.
        """
        self._take(deadline)
        try:
            yield
        finally:
            self._slots.release()

    def _take(self, deadline: Deadline) -> None:
        while True:
            self._sit_out(deadline)
            if not self._slots.acquire(timeout=deadline.left()):
                raise deadline.missed()
            if self._rests_until <= time.monotonic():
                return
            self._slots.release()  # the host asked for rest while we waited in the queue

    def _sit_out(self, deadline: Deadline) -> None:
        rest = self._rests_until - time.monotonic()
        if rest <= 0:
            return
        left = deadline.left()
        if rest >= left:
            raise FetchError(self._rests_for, wait=rest)
        time.sleep(rest + min(spread(), (left - rest) / 2))


class Hosts:
    """The hosts last asked, at most KEPT of them and those in use."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._hosts: OrderedDict[str, Host] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._hosts)

    @contextmanager
    def use(self, name: str) -> Iterator[Host]:
        """The host of that name, which is not forgotten while it is in use."""
        with self._lock:
            host = self._hosts.get(name)
            if host is None:
                host = self._hosts[name] = Host(self._connections)
            self._hosts.move_to_end(name)
            host.users += 1
            self._forget()
        try:
            yield host
        finally:
            with self._lock:
                host.users -= 1

    def _forget(self) -> None:
        if len(self._hosts) > KEPT:
            idle = next((name for name, host in self._hosts.items() if not host.users), None)
            if idle is not None:
                del self._hosts[idle]
