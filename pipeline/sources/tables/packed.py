"""Files that gzip has packed, unpacked as they are read, and never to more than such a file can honestly hold."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any, BinaryIO, cast

from t2i_shards.pipeline.errors import RequestError

PACKED = ".gz"
"""Behind the ending of texts that gzip has packed."""
BUFFER = 1 << 20
RATIO = 100
"""Times its size that a file may unpack to. Lists of URLs and captions take 3 to 10; gzip itself can do 1,032."""
FREE = 64 << 20
"""Bytes that any file may unpack to."""


class Unpacked(io.RawIOBase):
    """The content of a gzip file of `size` bytes. Reading raises RequestError where it is damaged or unpacks to
    too much. path: as it is shown. size: None where it is not known; what has been read of the file then counts.
    """

    def __init__(self, packed: BinaryIO, path: str, size: int | None) -> None:
        self._packed, self._path, self._size, self._unpacked = packed, path, size, 0
        self._file = gzip.GzipFile(fileobj=io.BufferedReader(cast(io.RawIOBase, packed), BUFFER))

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        view = memoryview(into).cast("B")
        try:
            data = self._file.read(len(view))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RequestError(f"{self._path}: must be a whole gzip file ({error})") from None
        self._unpacked += len(data)
        size = self._packed.tell() if self._size is None else self._size
        if self._unpacked > (most := max(FREE, RATIO * size)):
            raise RequestError(f"{self._path}: must unpack to at most {most} bytes, {RATIO} times its size")
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        self._packed.close()
        super().close()


def open_packed(packed: BinaryIO, path: str, size: int | None) -> BinaryIO:
    """The content of a gzip file, to be read once from its start."""
    return cast(BinaryIO, Unpacked(packed, path, size))
