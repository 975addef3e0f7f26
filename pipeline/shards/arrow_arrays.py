"""Arrow arrays from and to numpy and bytes. pyarrow's own conversions import pandas, which takes half a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def to_numbers(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """The numbers of a column without nulls."""
    kind = column.type.to_pandas_dtype()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [np.frombuffer(c.buffers()[1], kind)[c.offset : c.offset + len(c)] for c in chunks if len(c)]
    return parts[0] if len(parts) == 1 else np.concatenate([np.array([], kind), *parts])


def from_numbers(numbers: np.ndarray, kind: pa.DataType) -> pa.Array:
    """The array of these numbers, whose dtype is that of `kind`."""
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers))])


def from_texts(values: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """The array of these bytes, None as null. kind: binary, of any or of fixed length, or a string of UTF-8."""
    valid = np.packbits(np.array([value is not None for value in values], bool), bitorder="little")
    if pa.types.is_fixed_size_binary(kind):
        data = b"".join(value or bytes(kind.byte_width) for value in values)
        return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(valid), pa.py_buffer(data)])
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value or b"") for value in values], out=ends[1:])
    data = b"".join(value or b"" for value in values)
    return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(valid), pa.py_buffer(ends), pa.py_buffer(data)])


def find_true(mask: pa.ChunkedArray) -> np.ndarray:
    """uint64, where the mask is true; a null is not."""
    return to_numbers(pc.indices_nonzero(mask))
