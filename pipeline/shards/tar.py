"""Tar files whose bytes are a pure function of their members, and a reader that trusts no header.

The format is plain ustar, so that `webdataset` and `tar` read it. A reader that is lenient, as tarfile and
webdataset are, ends silently at a damaged header or at a cut between members; this one raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeVar
from zlib import adler32

from t2i_shards.pipeline.shards.sample import Sample

T = TypeVar("T")
BLOCK = 512
END = bytes(2 * BLOCK)
NAME_BYTES = 100

_MODE_UID_GID = b"0000644\0" + b"0000000\0" + b"0000000\0"
_NO_TIME = b"00000000000\0"
_TYPE_LINK = b"0" + bytes(100)
_MAGIC = b"ustar\x0000"
_OWNER_DEVICE_PREFIX = bytes(32) + bytes(32) + b"0000000\0" + b"0000000\0" + bytes(155 + 12)
_TAIL = _TYPE_LINK + _MAGIC + _OWNER_DEVICE_PREFIX


class TarError(Exception):
    """These bytes are not a whole tar file as TarWriter writes them."""


def _sum(data: bytes) -> int:
    """The sum of the bytes of a header or of a part of one.

    The lower half of Adler-32 is that sum plus one, modulo 65521, which no header of ours comes near; it takes a
    tenth of the time of `sum`.
    """
    return (adler32(data) & 0xFFFF) - 1


_TAIL_SUM = _sum(_TAIL)
_BLANK_SUM = 8 * 0x20
"""The checksum is the sum of the header's bytes with the checksum field itself read as eight spaces."""


def _header(name: str, size: int) -> bytes:
    encoded = name.encode("ascii")
    if len(encoded) > NAME_BYTES:
        raise ValueError(f"the member name {name!r} is longer than {NAME_BYTES} bytes")
    head = encoded.ljust(NAME_BYTES, b"\0") + _MODE_UID_GID + b"%011o\0" % size + _NO_TIME
    return head + b"%06o\0 " % (_sum(head) + _BLANK_SUM + _TAIL_SUM) + _TAIL


class TarWriter:
    """Writes samples to `file` and hashes what it writes; `close` writes the end and leaves `file` open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    def _write(self, *parts: bytes | memoryview) -> None:
        for data in parts:
            self._file.write(data)
            self._hash.update(data)
            self.bytes += len(data)

    def add(self, sample: Sample) -> None:
        """Append the members in the order of the mapping, as `<key>.<member>`."""
        for member, data in sample.members.items():
            self._write(_header(f"{sample.key}.{member}", len(data)), data, bytes(-len(data) % BLOCK))

    def close(self) -> str:
        """The sha256 of the whole file, in hexadecimal."""
        self._write(END)
        return self._hash.hexdigest()


def _octal(field: bytes) -> int:
    digits = field.rstrip(b"\0 ")
    # Not `int` alone: it takes a sign, and a member of negative length would be read forever.
    if not digits or digits.strip(b"01234567"):
        raise TarError(f"a header field is not octal: {field!r}")
    return int(digits, 8)


def _read_header(header: bytes, offset: int) -> tuple[str, int] | None:
    """(name, bytes) of the member whose header this is; None for the end of the archive. Raises TarError."""
    if len(header) < BLOCK:
        raise TarError("the file ends without an end-of-archive mark")
    if header == END[:BLOCK]:
        return None
    checksum = header[148:156]
    if _sum(header) - _sum(checksum) + _BLANK_SUM != _octal(checksum):
        raise TarError(f"the header at byte {offset} does not match its checksum")
    if header[156:157] != b"0" or header[257:265] != _MAGIC:
        raise TarError(f"the header at byte {offset} is not that of a plain file")
    return header[:NAME_BYTES].rstrip(b"\0").decode("ascii", "replace"), _octal(header[124:136])


def read_members(data: memoryview) -> Iterator[tuple[str, int, memoryview]]:
    """(name, offset, bytes) of each member, in order; the bytes are views into `data`.

    Raises TarError on a header that is damaged or not a plain file's, on a missing or early end, and on
    anything after the end.
    """
    offset, size = 0, len(data)
    while (found := _read_header(bytes(data[offset : offset + BLOCK]), offset)) is not None:
        name, length = found
        start = offset + BLOCK
        offset = start + length + (-length % BLOCK)
        if offset > size:
            raise TarError("the last member is cut")
        yield name, start, data[start : start + length]
    if bytes(data[offset:]) != END:
        raise TarError(f"the end of the archive at byte {offset} is followed by something else")


def scan_members(file: BinaryIO, size: int) -> Iterator[tuple[str, int, memoryview]]:
    """(name, offset, bytes) of each member of a file of `size` bytes, read from its start. Raises TarError."""
    offset = 0
    while (found := _read_header(header := file.read(BLOCK), offset)) is not None:
        name, length = found
        padded = length + (-length % BLOCK)
        data = memoryview(file.read(min(padded, size)))
        if len(data) < padded:
            raise TarError("the last member is cut")
        yield name, offset + BLOCK, data[:length]
        offset += BLOCK + padded
    if header + file.read(BLOCK + 1) != END:
        raise TarError(f"the end of the archive at byte {offset} is followed by something else")


def split_name(name: str) -> tuple[str, str]:
    """(key, member) of a file in a tar. Raises TarError where it leads elsewhere or has no key."""
    stem, _, member = name.partition(".")
    if not stem or "/" in name or "\\" in name:
        raise TarError(f"a member must be named key.member, in no folder, not {name!r}")
    return stem, member


def group_members(members: Iterable[tuple[str, T]]) -> Iterator[tuple[str, dict[str, T]]]:
    """(key, member -> what is given of it) of each sample: neighbours with the same key. Raises TarError."""
    key, found = "", dict[str, T]()
    for name, content in members:
        stem, member = split_name(name)
        if stem != key and found:
            yield key, found
            found = {}
        key = stem
        if member in found:
            raise TarError(f"{name} is there twice")
        found[member] = content
    if found:
        yield key, found


def read_samples(data: memoryview) -> Iterator[Sample]:
    """The samples of a shard. Raises TarError."""
    for key, members in group_members((name, content) for name, _, content in read_members(data)):
        yield Sample(key, members)
