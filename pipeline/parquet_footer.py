"""What a parquet file says of its columns and their pages, read without Arrow.

pyarrow 26 ends the process when it is asked for the metadata of a damaged column chunk, so a file that may be
damaged is looked at here first. The footer is a struct of Thrift's compact protocol; its fields are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

BYTE_ARRAY = 6
"""parquet.thrift, Type."""
DELTA_BYTE_ARRAY = 7
"""parquet.thrift, Encoding."""
DEEPEST = 32
TAIL = 8
"""Bytes behind a footer: its length and the closing word."""


@dataclass(frozen=True)
class Chunk:
    """A column of a row group. path: its name, of a nested column with those above it."""

    path: str
    physical_type: int
    encodings: frozenset[int]
    num_values: int
    total_uncompressed_size: int
    total_compressed_size: int
    start: int
    """Of its first page in the file."""


@dataclass(frozen=True)
class RowGroup:
    """rows: how many it says that it has."""

    rows: int
    chunks: tuple[Chunk, ...]


def read_chunks(data: bytes | memoryview) -> list[Chunk]:
    """All column chunks of a file, its bytes. Raises ValueError for what is no parquet file."""
    data = memoryview(data)
    length = footer_length(data[-8:], len(data))
    return [chunk for group in read_groups(data[-8 - length : -8]) for chunk in group.chunks]


def footer_length(tail: bytes | memoryview, size: int) -> int:
    """Bytes of the footer. tail: the last 8 bytes of the file; size: all of its bytes. Raises ValueError."""
    length = int.from_bytes(tail[:4], "little")
    if bytes(tail[4:]) != b"PAR1" or not 0 < length <= size - 12:
        raise ValueError("it does not end as a parquet file does")
    return length


def read_groups(footer: bytes | memoryview) -> list[RowGroup]:
    """The row groups that a footer names. Raises ValueError."""
    with _reading("footer"):
        groups = _Reader(memoryview(footer)).struct()[4]
        return [RowGroup(int(group[3]), tuple(_chunk(column[3]) for column in group[1])) for group in groups]


def measure_pages(data: bytes | memoryview, chunk: Chunk) -> tuple[int, int]:
    """(bytes that they unpack to, values) of a chunk's pages, by their own headers. Raises ValueError."""
    at, end = chunk.start, chunk.start + chunk.total_compressed_size
    if not 0 <= at <= end <= len(data):
        raise ValueError("its footer is damaged (a column lies outside of the file)")
    size = values = 0
    with _reading("page header"):
        while at < end:
            reader = _Reader(memoryview(data)[at:end])
            header = reader.struct()
            unpacked, packed = int(header[2]), int(header[3])
            if unpacked < 0 or packed < 0:
                raise ValueError("a page header is damaged (a size below 0)")
            size += unpacked
            values += sum(int(header[kind][1]) for kind in (5, 8) if kind in header)
            at += reader.at + packed
    return size, values


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"its {what} is damaged ({error!r})") from None


def _chunk(fields: dict[int, Any]) -> Chunk:
    stats = fields.get(13, ())
    encodings = frozenset([*fields[2], *(stat[2] for stat in stats)])
    path = ".".join(bytes(part).decode() for part in fields[3])
    num_values, unpacked, packed = (int(fields[number]) for number in (5, 6, 7))
    if num_values < 0 or unpacked < 0 or packed < 0:
        raise ValueError("its footer is damaged (a size below 0)")
    # The dictionary's page, where there is one, is the first. Some writers say 0 where there is none.
    start = min(filter(None, (int(fields[9]), int(fields.get(11, 0)))), default=0)
    return Chunk(path, int(fields[1]), encodings, num_values, unpacked, packed, start)


class _Reader:
    """Thrift's compact protocol: a struct as a dict of its fields by number, a map as nothing."""

    def __init__(self, data: memoryview) -> None:
        self._data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > DEEPEST:
            raise ValueError("its footer is damaged (nested too deeply)")
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            delta, kind = header >> 4, header & 15
            number = number + delta if delta else self._signed()
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._varint())
            case 9 | 10:
                header = self._byte()
                size = header >> 4 if header >> 4 < 15 else self._varint()
                return [self._value(header & 15, depth + 1) for _ in range(size)]
            case 11:
                size = self._varint()
                kinds = self._byte() if size else 0
                for _ in range(size):
                    self._value(kinds >> 4, depth + 1)
                    self._value(kinds & 15, depth + 1)
                return None
            case 12:
                return self.struct(depth + 1)
        raise ValueError(f"its footer is damaged (a value of kind {kind})")

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _bytes(self, size: int) -> memoryview:
        self.at += size
        if self.at > len(self._data):
            raise IndexError("it ends too early")
        return self._data[self.at - size : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("its footer is damaged (a number without end)")
        return value | byte << shift

    def _signed(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
