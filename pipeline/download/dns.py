"""Resolving names within a deadline, which the system's resolver does not have."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeAlias

from t2i_shards.pipeline.download.deadline import Deadline
from t2i_shards.pipeline.download.reasons import UNRESOLVED, FetchError

Resolver: TypeAlias = Callable[[str], Sequence[str]]
"""host -> its addresses, the preferred one first. OSError for a name that has none."""

THREADS = 32
"""Look-ups at once. A name whose servers are silent holds a thread for tens of seconds."""


def ask_system(host: str) -> Sequence[str]:
    """All addresses of a name, as /etc/hosts, DNS or whatever the system is set up with give them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class LookUps:
    """Look-ups in daemon threads: a caller can stop waiting for one, and so can the process when it ends."""

    def __init__(self, resolver: Resolver = ask_system) -> None:
        self._resolver = resolver
        self._free = threading.Semaphore(THREADS)

    def __call__(self, host: str, deadline: Deadline) -> Sequence[str]:
        """The addresses of `host`, at least one. FetchError when there are none, or none in time."""
        if not self._free.acquire(timeout=deadline.left()):
            raise deadline.missed()
        future: Future[Sequence[str]] = Future()
        threading.Thread(target=self._run, args=(host, future), daemon=True, name=f"look up {host}").start()
        left = deadline.left()
        try:
            addresses = future.result(timeout=left)
        except TimeoutError:
            raise deadline.missed() from None
        except (OSError, UnicodeError):
            raise FetchError(UNRESOLVED) from None
        if not addresses:
            raise FetchError(UNRESOLVED)
        return addresses

    def _run(self, host: str, future: Future[Sequence[str]]) -> None:
        try:
            future.set_result(self._resolver(host))
        except BaseException as error:  # the waiting thread raises it
            future.set_exception(error)
        finally:
            self._free.release()
