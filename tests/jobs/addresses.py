"""The addresses at which processes accept connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def _listening(process: psutil.Process) -> set[str]:
    """The addresses at which a process accepts connections."""
    try:
        found = process.net_connections(kind="inet")
    except psutil.Error:  # it has just ended
        return set()
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


@contextmanager
def watch_addresses() -> Iterator[set[str]]:
    """All addresses at which this process and what it starts accept connections during the block.

    A Ray that other tests have started before is left out, with the processes that it starts.
    """
    own, ended, seen = psutil.Process(), threading.Event(), set[str]()
    before = _listening(own)
    others = {child.pid for child in own.children()}

    def watch() -> None:
        while not ended.wait(0.05):
            started = [child for child in own.children() if child.pid not in others]
            below = [process for child in started for process in (child, *child.children(recursive=True))]
            seen.update(*map(_listening, (own, *below)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
        seen -= before
