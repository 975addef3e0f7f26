"""Progress of workers elsewhere: the log in RUN, read while they write it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from t2i_shards.jobs.repeat import repeat
from t2i_shards.pipeline.runlog import LogLine, parse_line

LOOK_EVERY = 0.5
"""Seconds between two reads."""


class Follower:
    """Reads the steps that a log gained after `step`, each once, though a log is rewritten after a death."""

    def __init__(self, path: Path, step: int) -> None:
        self._path, self._last = path, step if step else -1
        self._file: BinaryIO | None = None
        self._reopen()
        self._old = self._file  # lines of an earlier command are not reported

    def read(self) -> list[LogLine]:
        """The lines that were added since the last call."""
        self._reopen()
        news: list[LogLine] = []
        if self._file is None or self._file is self._old:
            return news
        while (text := self._file.readline()).endswith(b"\n"):
            line = parse_line(text, str(self._path))
            if line.step > self._last:
                self._last = line.step
                news.append(line)
        self._file.seek(-len(text), os.SEEK_CUR)  # a line that is still being written is read later
        return news

    def _reopen(self) -> None:
        """Open the file of that name where it has replaced the open one, as its inode number shows."""
        with suppress(FileNotFoundError):
            if self._file is None or os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino:
                self._file = self._path.open("rb")


@contextmanager
def follow_log(path: Path, step: int, progress: Callable[[LogLine], None]) -> Iterator[None]:
    """Call `progress` with each new line, in a thread, until the end of the block."""
    follower = Follower(path, step)

    def look() -> None:
        for line in follower.read():
            progress(line)

    try:
        with repeat(look, LOOK_EVERY):
            yield
    finally:
        look()
