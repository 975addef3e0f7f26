"""The shelf: shards that are open, and those that are being opened ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.stream.opened import Opened

OPENERS = 4
"""Shards that are verified at once. Hashing lets go of the interpreter, and a store far away answers several
requests at once."""


class Shelf:
    """A context manager. open: gives the samples of a shard."""

    def __init__(self, open: Callable[[int], Opened]) -> None:
        self._open = open
        self._threads = ThreadPoolExecutor(OPENERS)
        self._shards: dict[int, Future[Opened]] = {}

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self._shards.clear()
        self._threads.shutdown(cancel_futures=True)

    def begin(self, shards: Iterable[int]) -> None:
        """Open these too, on other threads."""
        for shard in shards:
            if shard not in self._shards:
                self._shards[shard] = self._threads.submit(self._open, shard)

    def turn_to(self, shards: set[int]) -> None:
        """Let go of all others, then begin these."""
        for shard in self._shards.keys() - shards:
            self._shards.pop(shard).cancel()
        self.begin(sorted(shards))

    def get(self, shard: int) -> Opened:
        """The samples of a shard that was begun. Raises what opening it raised."""
        return self._shards[shard].result()
