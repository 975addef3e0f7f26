"""How many samples of the shard under way are done: its stage counts them, and its worker passes the number on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
TELL_EVERY = 1.0
"""Seconds between two numbers that are passed on, at least."""


@dataclass
class _Count:
    tell: Callable[[int], object]
    samples: int = 0
    told: float = field(default_factory=time.monotonic)


_COUNT: ContextVar[_Count | None] = ContextVar("count", default=None)


def count_samples(number: int = 1) -> None:
    """A stage has so many more samples of its shard. Cheap enough for each; without a worker it does nothing."""
    if (count := _COUNT.get()) is None:
        return
    count.samples += number
    if (now := time.monotonic()) - count.told >= TELL_EVERY:
        count.told = now
        count.tell(count.samples)


class Parts:
    """Counts samples that are done in `of` parts each, such as one in every column."""

    def __init__(self, of: int) -> None:
        self._of, self._done = of, 0

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The same items, with a part of a sample done when the next is asked for."""
        for item in items:
            yield item
            self._done += 1
            if self._done % self._of == 0:
                count_samples()


@contextmanager
def tell_samples(tell: Callable[[int], object]) -> Iterator[None]:
    """In the block, which does one shard, `tell` is called now and then with the samples of it that are done."""
    token = _COUNT.set(_Count(tell))
    try:
        yield
    finally:
        _COUNT.reset(token)
