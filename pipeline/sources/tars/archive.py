"""The members of a tar that anyone may have written, by their headers: regular files, and where each one lies.

And the digests that a set of tars may come with, in a file SHA256SUMS as sha256sum writes it.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.input_files import InputFile, Pattern
from t2i_shards.pipeline.shards.tar import BLOCK

HEADER_BYTES = 64 << 10
"""Of a header, the long names and PAX records of a member included; others take a few hundred."""
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)

SUMS = "SHA256SUMS"
SUMS_BYTES = 64 << 20
SUM_BLOCK = 4 << 20
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


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


def read_sums(tars: Pattern) -> Mapping[str, str]:
    """name below the base of the tars -> sha256, from the folder of the tars and the one above it, if they say."""
    sums: dict[str, str] = {}
    for folder, prefix in ((posixpath.dirname(tars.base), posixpath.basename(tars.base) + "/"), (tars.base, "")):
        try:
            with Pattern(f"{folder}/{SUMS}", (SUMS.lower(),)).open(SUMS) as file:
                text = file.read(SUMS_BYTES).decode("utf-8", "replace")
        except (OSError, RequestError):  # none, or none that we may read: most sets have none
            continue
        for line in text.splitlines():
            if (found := _LINE.fullmatch(line)) and found[2].startswith(prefix):
                sums[found[2].removeprefix(prefix)] = found[1]
    return sums


def check_sum(file: InputFile, tar: BinaryIO, sums: Mapping[str, str]) -> None:
    """Raises RequestError for a tar whose bytes are not those of its digest; one without a digest passes."""
    if (wanted := sums.get(file.name)) is None:
        return
    hashed = hashlib.sha256()
    while data := tar.read(SUM_BLOCK):
        hashed.update(data)
    if hashed.hexdigest() != wanted:
        raise RequestError(
            f"{file.path}: must have sha256 {wanted}, as {SUMS} has it, and has {hashed.hexdigest()}; "
            "fetch it again"
        )
    tar.seek(0)
