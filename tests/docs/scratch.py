"""A folder for one page, which may hold an environment of 7 GB: it goes however the run ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "t2i-docs-"
GRACE = 10
"""Seconds that a command which is ended has to end what it started."""


@contextmanager
def make_scratch() -> Iterator[Path]:
    """An empty folder, removed at the end of the block. Those of runs that were killed are removed before it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), _hold(folder):
            shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name, _hold(Path(name)):
        yield Path(name)


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Lock it for the length of the block. OSError where another process has."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def end_by_signals() -> None:
    """SIGTERM and SIGHUP end this process as Control-C does, with what it cleans up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def run_whole(words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[int, str]:
    """Exit code, and all that it printed. When this process is to end, so are the command and its children."""
    with subprocess.Popen(
        words,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            with suppress(subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(GRACE)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, said
