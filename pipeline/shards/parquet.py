"""Parquet of others in bounded memory: a dictionary, or a run, lets a kilobyte become gigabytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from t2i_shards.pipeline.parquet_footer import (
    BYTE_ARRAY,
    DELTA_BYTE_ARRAY,
    TAIL,
    Chunk,
    RowGroup,
    footer_length,
    measure_pages,
    read_chunks,
    read_groups,
)

ROOM = 64 << 20
RATIO = 64
"""A small table may unpack to ROOM bytes and RATIO times those of its file."""
PACKED = 200
"""A column's pages may unpack to ROOM bytes and PACKED times those that they have in the file."""
BATCH_BYTES = 512 << 20
"""What a column of a batch may unpack to."""
_INCREMENTAL = "DELTA_BYTE_ARRAY"
"""The encoding in which a text is the beginning of the one before it and an end: it may be of any length."""


class Unbounded(pa.ArrowInvalid):
    """The table is not read, as it would take more memory than its size allows."""


def check_table(data: bytes | memoryview) -> None:
    """Raises Unbounded for a small table (the bytes of its file) that must not be read whole."""
    most = ROOM + RATIO * len(data)
    chunks = [_believe_pages(data, chunk) for chunk in read_chunks(data)]
    _refuse(sum(max(8 * chunk.num_values, chunk.total_uncompressed_size) for chunk in chunks), most)
    texts = [chunk for chunk in chunks if chunk.physical_type == BYTE_ARRAY]
    if any(DELTA_BYTE_ARRAY in chunk.encodings for chunk in texts):
        raise Unbounded(f"its texts are encoded as {_INCREMENTAL}, which is not read")
    # No text is longer than all of its column; only where that says too little is each one measured.
    if sum(chunk.num_values * chunk.total_uncompressed_size for chunk in texts) > most:
        _refuse(_measure(data, {chunk.path for chunk in texts}), most)


def _believe_pages(data: bytes | memoryview, chunk: Chunk) -> Chunk:
    """The chunk with what its pages say where that is more than what the footer says: Arrow goes by the pages."""
    unpacked, values = measure_pages(data, chunk)
    return replace(
        chunk,
        num_values=max(values, chunk.num_values),
        total_uncompressed_size=max(unpacked, chunk.total_uncompressed_size),
    )


def load_footer(stream: BinaryIO) -> tuple[bytes, list[RowGroup]]:
    """(the footer's bytes, its length and the closing word with them; its row groups) of a file of any size.

    To be asked before pyarrow, which some damage makes end the process. Raises pa.ArrowInvalid.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - TAIL))
    tail = stream.read(TAIL)
    try:
        length = footer_length(tail, size)
        stream.seek(size - TAIL - length)
        footer = stream.read(length)
        return footer + tail, read_groups(footer)
    except ValueError as error:
        raise pa.ArrowInvalid(str(error)) from None


def choose_batch(
    file: pq.ParquetFile, groups: Sequence[RowGroup], group: int, columns: Sequence[str], most: int
) -> int:
    """How many rows of a row group, at most `most`, may be read at once. Raises Unbounded.

    file: opened with `read_dictionary` of these columns, all of them texts. groups: what its footer says. A text
    lies in its column chunk in full, or in the chunk's dictionary, whose longest entry may come in every row.
    """
    chunks = [chunk for chunk in groups[group].chunks if chunk.path in columns]
    for chunk in chunks:
        _refuse(chunk.total_uncompressed_size, ROOM + PACKED * chunk.total_compressed_size)
    sizes = [chunk.total_uncompressed_size for chunk in chunks]
    rows = min(most, groups[group].rows)
    incremental = [chunk.total_uncompressed_size for chunk in chunks if DELTA_BYTE_ARRAY in chunk.encodings]
    if not incremental and rows * max(sizes, default=0) <= BATCH_BYTES:
        return most
    longest = max(incremental, default=1)
    for batch in file.iter_batches(1, row_groups=[group], columns=list(columns), use_threads=False):
        for array in batch.columns:
            longest = max(longest, pc.max(pc.binary_length(_leaf(array).dictionary)).as_py() or 1)
        break
    return max(1, min(most, BATCH_BYTES // longest))


def _measure(data: bytes | memoryview, texts: Iterable[str]) -> int:
    """The bytes of all texts, their columns read as dictionaries, so that each is in memory once."""
    total = 0
    with pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)), read_dictionary=list(texts)) as file:
        for batch in file.iter_batches(columns=list(texts), use_threads=False):
            for array in map(_leaf, batch.columns):
                total += pc.sum(pc.binary_length(array.dictionary).take(array.indices)).as_py() or 0
    return total


def _leaf(array: pa.Array) -> pa.Array:
    """The texts in a column that holds one of them, or a list of them, in each row; read as a dictionary."""
    while not pa.types.is_dictionary(array.type):
        array = array.field(0) if pa.types.is_struct(array.type) else array.flatten()
    return array


def _refuse(found: int, most: int) -> None:
    if found > most:
        raise Unbounded(f"it would unpack to {found} bytes; at most {most} are read")
