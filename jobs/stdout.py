"""Standard output holds the summary alone, for programs that read it: what else is printed goes to standard error.

Ray's driver prints when a worker dies, NCCL prints its version, and other libraries print too.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

from t2i_shards.pipeline.errors import IncompleteError


@contextmanager
def divert_prints() -> Iterator[TextIO]:
    """What Python code prints inside the block goes to standard error. Yields standard output."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        yield stdout


def divert_others() -> None:
    """What C code and processes started from now on print goes to standard error until the process ends."""
    sys.stdout.flush()
    encoding = sys.stdout.encoding  # a path may hold what it cannot express
    sys.stdout = open(os.dup(1), "w", buffering=1, encoding=encoding, errors="backslashreplace")  # noqa: SIM115
    os.dup2(2, 1)


class _Unheard(io.FileIO):
    """Standard error: where it is closed, full or no longer read, the work continues silently."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            super().write(data)
        return len(data)


def open_standard_streams() -> None:
    """Make standard streams safe to use, also those that are closed: no other file may get their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
    raw = _Unheard(2, "w", closefd=False)
    encoding = sys.stderr.encoding if sys.stderr else None
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True, write_through=True
    )


@contextmanager
def refuse_closed_output() -> Iterator[None]:
    """For what prints its answer and ends the process: silently where its reader is gone (`| head`).

    Raises IncompleteError where standard output cannot be written.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_rest()
        raise SystemExit(0) from None
    except OSError as error:
        _discard_rest()
        raise IncompleteError(f"cannot write to standard output: {error.strerror}") from None


def _discard_rest() -> None:
    """What is still buffered would be reported as lost while the process exits."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def print_summary(line: str, stdout: TextIO) -> str | None:
    """Print to standard output. Returns why that failed; None if it did not, or the reader is gone (`| head`)."""
    try:
        print(line, file=stdout, flush=True)
    except BrokenPipeError:
        return None
    except OSError as error:
        return f"cannot write to standard output: {error.strerror}"
    return None
