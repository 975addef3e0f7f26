"""The index of a shard whose bytes were verified: where each member is, and the checksum of its bytes.

A file can change after it was verified: another process writes to it, a disk gives other bytes the second time.
So each member is compared with its checksum again when it is read.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from zlib import crc32

import msgspec

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt import check_sha256, check_size
from t2i_shards.pipeline.shards.tar import TarError, group_members, scan_members

CHUNK = 8 << 20
"""Bytes that are read and hashed in one go."""
PIECE = 5 << 10
"""Above this zlib lets go of the interpreter, and every call would then wait until it may have it again."""


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """start, size: of its bytes in the tar. checksum: their CRC-32."""

    name: str
    start: int
    size: int
    checksum: int


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A sample of a tar."""

    key: str
    parts: tuple[Member, ...]

    @property
    def members(self) -> Mapping[str, Member]:
        """name -> member"""
        return {member.name: member for member in self.parts}


@dataclass(frozen=True)
class Vouched:
    """What is known of a shard beforehand, from its receipt or manifest. keys: their digest, if known."""

    path: str
    bytes: int
    sha256: str
    samples: int
    keys: str | None = None


def checksum(data: memoryview) -> int:
    """The CRC-32 of the bytes."""
    total = 0
    for start in range(0, len(data), PIECE):
        total = crc32(data[start : start + PIECE], total)
    return total


def index_shard(file: BinaryIO, vouched: Vouched) -> list[Entry]:
    """The samples of a shard, after all its bytes were compared with what is known of it. Raises DamagedShard."""
    size = file.seek(0, os.SEEK_END)
    check_size(vouched.path, size, vouched.bytes)
    file.seek(0)
    hashing = _Hashing(file)
    reader = io.BufferedReader(hashing, CHUNK)
    problem: TarError | None = None
    entries: list[Entry] = []
    try:
        entries = list(_scan(reader, size))
    except TarError as error:
        problem = error
    while reader.read(CHUNK):
        pass
    check_sha256(vouched.path, hashing.digest.hexdigest(), vouched.sha256)
    if problem is not None:
        raise DamagedShard(f"{vouched.path}: {problem}")
    return entries


def _scan(file: BinaryIO, size: int) -> Iterator[Entry]:
    found = ((name, (start, len(data), checksum(data))) for name, start, data in scan_members(file, size))
    for key, members in group_members(found):
        yield Entry(key, tuple(Member(name, *of) for name, of in members.items()))


class _Hashing(io.RawIOBase):
    """A file that is read once, with the sha256 of what was read so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file: Any = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._file.readinto(buffer)
        self.digest.update(memoryview(buffer)[:count])
        return count


def read_member(file: BinaryIO, member: Member, vouched: Vouched) -> bytes:
    """The bytes of a member. Raises DamagedShard when they are no longer those that were verified."""
    if isinstance(file, io.BytesIO):
        data = bytes(file.getbuffer()[member.start : member.start + member.size])
    else:
        data = os.pread(file.fileno(), member.size, member.start)
    if len(data) != member.size or checksum(memoryview(data)) != member.checksum:
        raise DamagedShard(f"{vouched.path}: changed after it was verified; its {member.name} has other bytes now")
    return data
