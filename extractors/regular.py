"""Opening files of received folders: regular files, and no others.

Reading a FIFO or a device may block or never end, and even opening one may have an effect.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotRegular(OSError):
    """A FIFO, a device, a socket or a folder where a file is expected."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(errno.EINVAL, "must be a regular file", os.fspath(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def open_regular(path: str | Path) -> BinaryIO:
    """The file, for reading. Raises NotRegular, and OSError as `open` does."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotRegular(path)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = open(handle, "rb")  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # it was replaced in between
        file.close()
        raise NotRegular(path)
    return file


def read_regular(path: str | Path) -> bytes:
    """All bytes of the file. Raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read()
