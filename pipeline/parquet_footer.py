"""A parquet file's own word about its columns, read without Arrow.

pyarrow 26 ends the process when it is asked for the metadata of a damaged column chunk, so a file that may be
damaged is looked at here first. The footer is a struct of Thrift's compact protocol; its fields are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BYTE_ARRAY = 6
"""parquet.thrift, Type."""
DELTA_BYTE_ARRAY = 7
"""parquet.thrift, Encoding."""
DEEPEST = 32


@dataclass(frozen=True)
class Chunk:
    """A column of a row group. path: its name, of a nested column with those above it."""

    path: str
    physical_type: int
    encodings: frozenset[int]
    num_values: int
    total_uncompressed_size: int


def read_chunks(data: bytes | memoryview) -> list[Chunk]:
    """All column chunks of a file, its bytes. Raises ValueError for what is no parquet file."""
    data = memoryview(data)
    length = int.from_bytes(data[-8:-4], "little")
    if bytes(data[-4:]) != b"PAR1" or not 0 < length <= len(data) - 12:
        raise ValueError("it does not end as a parquet file does")
    try:
        groups = _Reader(data[-8 - length : -8]).struct()[4]
        return [_chunk(column[3]) for group in groups for column in group[1]]
    except (KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"its footer is damaged ({error!r})") from None


def _chunk(fields: dict[int, Any]) -> Chunk:
    stats = fields.get(13, ())
    encodings = frozenset([*fields[2], *(stat[2] for stat in stats)])
    path = ".".join(bytes(part).decode() for part in fields[3])
    num_values, size = int(fields[5]), int(fields[6])
    if num_values < 0 or size < 0:
        raise ValueError("its footer is damaged (a size below 0)")
    return Chunk(path, int(fields[1]), encodings, num_values, size)


class _Reader:
    """Thrift's compact protocol: a struct as a dict of its fields by number, a map as nothing."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

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
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, size: int) -> memoryview:
        self._at += size
        if self._at > len(self._data):
            raise IndexError("it ends too early")
        return self._data[self._at - size : self._at]

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
