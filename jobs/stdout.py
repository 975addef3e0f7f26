"""Standard output holds the summary alone, for programs that read it: what else is printed goes to standard error.

Ray's driver prints of workers that died, NCCL its version, some library always something.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO


@contextmanager
def divert_prints() -> Iterator[TextIO]:
    """What Python code prints inside the block goes to standard error. Gives standard output."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        yield stdout


def divert_others() -> None:
    """What C code prints, and processes that are started from now on, goes to standard error till the end."""
    sys.stdout.flush()
    sys.stdout = open(os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding)  # noqa: SIM115
    os.dup2(2, 1)
