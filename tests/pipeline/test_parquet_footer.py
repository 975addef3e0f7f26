"""The footer as read here, compared with pyarrow's on sound files; damaged ones are refused."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.parquet_footer import BYTE_ARRAY, DELTA_BYTE_ARRAY, measure_pages, read_chunks


def parquet(**options: Any) -> bytes:
    table = pa.table(
        {
            "key": [f"{n:06d}" for n in range(500)],
            "size": range(500),
            "share": [n / 7 for n in range(500)],
            "captions": [["a", "b" * n] for n in range(500)],
            "kept": [n % 2 == 0 for n in range(500)],
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=200, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd", "write_page_index": True},
        {"version": "1.0", "use_dictionary": False},
        {"use_dictionary": False, "column_encoding": {"key": "DELTA_BYTE_ARRAY", "size": "PLAIN"}},
    ],
)
def test_chunks_are_those_that_arrow_sees(options: dict[str, Any]) -> None:
    data = parquet(**options)
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    theirs = [group.column(number) for group in groups for number in range(group.num_columns)]
    ours = read_chunks(data)
    assert [(c.path, c.num_values, c.total_uncompressed_size) for c in ours] == [
        (c.path_in_schema, c.num_values, c.total_uncompressed_size) for c in theirs
    ]
    assert [c.total_compressed_size for c in ours] == [c.total_compressed_size for c in theirs]
    # All values of a column, and with the pages' headers, which hold texts too, all bytes are those of its pages.
    measured = [measure_pages(data, chunk) for chunk in ours]
    assert [values for _, values in measured] == [c.num_values for c in theirs]
    assert all(0 < c.total_uncompressed_size - size < 5000 for c, (size, _) in zip(theirs, measured, strict=True))
    assert [c.physical_type == BYTE_ARRAY for c in ours] == [c.physical_type == "BYTE_ARRAY" for c in theirs]
    assert [DELTA_BYTE_ARRAY in c.encodings for c in ours] == ["DELTA_BYTE_ARRAY" in c.encodings for c in theirs]


def test_damaged_footers_are_read_or_refused() -> None:
    data, rng = parquet(), random.Random(0)
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 5))):
            changed[-1 - rng.randrange(footer)] ^= 1 << rng.randrange(8)
        with suppress(ValueError):
            for chunk in read_chunks(bytes(changed)):
                measure_pages(changed, chunk)
    pages = len(data) - footer
    for _ in range(1000):
        changed = bytearray(data)
        changed[rng.randrange(pages)] ^= 1 << rng.randrange(8)
        for chunk in read_chunks(data):
            with suppress(ValueError):
                measure_pages(changed, chunk)


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" + bytes(8) + b"PAR1", b"\x2c" * 90 + b"\x5a\x00\x00\x00PAR1"]
)
def test_what_is_no_parquet_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"it does not end|footer is damaged"):
        read_chunks(data)
