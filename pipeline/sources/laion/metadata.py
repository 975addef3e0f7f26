"""The parquet files of the metadata: found, checked by their footers, read a few rows at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import RequestError
from pipeline.shards.input_files import Pattern
from pipeline.shards.parquet import choose_batch
from pipeline.sources.laion.filters import Filters
from pipeline.sources.laion.spellings import find_columns, require

BATCH = 1 << 16
BUFFER = 4 << 20
TEXTS = frozenset({"url", "caption", "digest", "language", "hash"})

Columns = dict[str, pa.Array]
"""Our name -> values: large_binary for texts, for nothing says that they are UTF-8; numbers for the rest."""


@dataclass(frozen=True)
class MetadataFile:
    """One parquet file. name: below the folder that all have in common; columns: our name -> the file's.

    start: position of its first row among the rows of all files. footer: its sha256, which holds the schema,
    where every column chunk lies, how long it is, and least and greatest values.
    """

    name: str
    path: str
    size: int
    rows: int
    start: int
    columns: dict[str, str]
    footer: str
    open: Callable[[], BinaryIO]

    def read(self, batch_size: int = BATCH) -> Iterator[tuple[int, Columns]]:
        """(position of its first row, columns) of some rows at a time. RequestError when it is damaged."""
        position = self.start
        # Read ahead, pyarrow keeps whatever it has read of a file until the end of it.
        options = {"buffer_size": BUFFER, "pre_buffer": False, "page_checksum_verification": True}
        names = list(self.columns.values())
        with (
            refuse_damage(self.path),
            self.open() as stream,
            pq.ParquetFile(stream, **options) as file,
            self.open() as beside,
            pq.ParquetFile(beside, read_dictionary=_texts(file.schema_arrow, names)) as probe,
        ):
            for group in range(file.num_row_groups):
                rows = choose_batch(probe, group, _texts(file.schema_arrow, names), batch_size)
                # pyarrow's threads may outlive the interpreter, which then aborts.
                for batch in file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False):
                    columns = {ours: batch.column(theirs) for ours, theirs in self.columns.items()}
                    yield position, {ours: as_known(ours, column) for ours, column in columns.items()}
                    position += batch.num_rows


def _texts(schema: pa.Schema, names: Sequence[str]) -> list[str]:
    return [name for name in names if any(is_a(schema.field(name).type) for is_a in TEXT_TYPES)]


def find_metadata(pattern: str, filters: Filters) -> list[MetadataFile]:
    """The files in the order of their names, each with all columns that the filters ask for, or RequestError."""
    found = Pattern(pattern, (".parquet",)).find()
    if not found:
        raise RequestError(f"--metadata must match parquet files, such as 'DIR/*.parquet'; none match {pattern!r}")
    folder = os.path.commonpath([os.path.dirname(file.path) for file in found])
    files: list[MetadataFile] = []
    start = 0
    for path, size, open_file in ((file.path, file.size, file.open) for file in found):
        with refuse_damage(path):
            rows, schema, footer = _read_footer(open_file, size)
        columns = find_columns(schema.names, path)
        for column, option in filters.needs():
            require(columns, column, schema.names, path, option)
        _check_types(columns, schema, path)
        name = os.path.relpath(path, folder) if folder else path
        files.append(MetadataFile(name, path, size, rows, start, columns, footer, open_file))
        start += rows
    return files


def digest_files(files: Sequence[MetadataFile]) -> str:
    """sha256 over names, sizes and footers: other metadata has another one."""
    lines = (f"{file.name}\0{file.size}\0{file.footer}\n" for file in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def as_known(ours: str, column: pa.Array) -> pa.Array:
    """The values in the form in which `Columns` has them."""
    if ours == "hash" and pa.types.is_integer(column.type):
        column = column.cast(pa.string())  # some have 64 bits without a sign, which a plan cannot hold
    return column.cast(pa.large_binary()) if ours in TEXTS else column


@contextmanager
def refuse_damage(path: str) -> Iterator[None]:
    """RequestError, in one line, for what pyarrow raises on a file that is no parquet or is damaged."""
    try:
        yield
    except FileNotFoundError:
        raise RequestError(f"{path}: was there a moment ago, and is gone") from None
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's or the network's own word, not pyarrow's about the content
        raise RequestError(f"{path}: must be an undamaged parquet file ({_first_line(error)})") from None


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _read_footer(open_file: Callable[[], BinaryIO], size: int) -> tuple[int, pa.Schema, str]:
    """(rows, schema, sha256 of the footer)"""
    with open_file() as stream, pq.ParquetFile(stream) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
        # Its length comes before the closing magic word, in the last 8 bytes.
        length = file.metadata.serialized_size + 8
        stream.seek(size - length)
        return rows, schema, hashlib.sha256(stream.read(length)).hexdigest()


def _check_types(columns: dict[str, str], schema: pa.Schema, path: str) -> None:
    for ours, theirs in columns.items():
        kind: Any = schema.field(theirs).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        text = any(is_a(kind) for is_a in TEXT_TYPES)
        fits = (text or (ours == "hash" and number)) if ours in TEXTS else number
        if not fits and not pa.types.is_null(kind):
            wanted = "texts" if ours in TEXTS else "numbers"
            raise RequestError(f"{path}: its column {theirs} must hold {wanted}, not {kind}")


TEXT_TYPES = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)
