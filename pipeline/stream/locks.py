"""Locks among the processes of a machine, which the kernel releases when their holder dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def locked(file: BinaryIO, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a flock on an open file. Raises BlockingIOError where `how` says not to wait."""
    fcntl.flock(file, how)
    try:
        yield
    finally:
        # Not by closing alone: a process that was forked since has the file open too.
        fcntl.flock(file, fcntl.LOCK_UN)


def take_away(path: Path) -> bool:
    """Remove a file that is not in use; False when it is."""
    try:
        with open(path, "rb") as file, locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            path.unlink()
            return True
    except BlockingIOError:
        return False
