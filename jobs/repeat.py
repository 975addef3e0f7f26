"""Something done again and again while other work runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeat(action: Callable[[], object], every: float) -> Iterator[None]:
    """Call `action` every so many seconds, in a thread, until the block ends."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(every):
            action()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
