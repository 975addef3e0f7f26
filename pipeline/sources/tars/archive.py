"""The members of a tar that anyone may have written, by their headers: regular files, and where each one lies."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from t2i_shards.pipeline.shards.tar import BLOCK

HEADER_BYTES = 64 << 10
"""Of a header, the long names and PAX records of a member included; others take a few hundred."""
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


class NotATar(ValueError):
    """The file does not begin as a tar does."""


class DamagedTar(ValueError):
    """The headers end too early, or are none. The members before this one are whole."""


@dataclass(frozen=True)
class Member:
    """name: as in the tar. at: where its bytes begin. mark: of its header, to notice that the tar was replaced."""

    name: str
    at: int
    size: int
    mark: int


class _Headers:
    """The file for tarfile, which reads headers alone through it: no header can make it read gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > HEADER_BYTES:
            raise DamagedTar(f"a header of {size} bytes")
        return self._file.read(size)


def read_members(file: BinaryIO, size: int) -> Iterator[Member]:
    """The regular files in a tar of `size` bytes, in their order; links, devices and folders are passed over.

    Raises NotATar, and DamagedTar behind the last member that is whole. `file` may be read between two members.
    """
    headers: Any = _Headers(file)
    try:
        tar = tarfile.open(fileobj=headers, mode="r:")  # noqa: SIM115  (closing it would do nothing)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise NotATar(str(error)) from None
    while (info := _next(tar)) is not None:
        if info.type in _REGULAR and info.sparse is None:
            if info.offset_data + info.size > size:
                raise DamagedTar(f"{info.name!r} is cut")
            yield Member(info.name, info.offset_data, info.size, read_mark(file, info.offset_data))
    file.seek(tar.offset)
    if file.read(BLOCK) != bytes(BLOCK):  # tarfile takes whatever is no header for the end
        raise DamagedTar(f"no header at byte {tar.offset}")


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        info = tar.next()
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise DamagedTar(str(error)) from None
    vars(tar)["members"].clear()  # tarfile would keep them all
    return info


def read_mark(file: BinaryIO, at: int) -> int:
    """The checksum of the header of the member whose bytes begin `at`."""
    file.seek(at - BLOCK)
    return zlib.crc32(file.read(BLOCK))
