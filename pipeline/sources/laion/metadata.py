"""The tables of the metadata: found, their columns checked, read a few rows at a time, made rows of the plan."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.sources.files import digest_files
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.licence import LICENCE, clean_licence
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tables.column_names import find_columns, require
from t2i_shards.pipeline.sources.tables.find import BATCH, TEXTS, Columns, check_types, find_tables, open_table
from t2i_shards.pipeline.sources.tables.parquet_table import ParquetTable
from t2i_shards.pipeline.sources.tables.text import clean_digest, clean_url, read_captions
from t2i_shards.pipeline.sources.tables.text_table import TextTable

WHOLE = frozenset({"width", "height"})
"""Columns of whole numbers."""
PLAN = frozenset({"url", "caption", "digest"})
"""Columns that every row of a plan has as fields of its own."""


@dataclass(frozen=True)
class MetadataFile:
    """One table. name: below the folder that all have in common; columns: our name -> the file's.

    start: position of its first row among the rows of all files. footer: a sha256 by which another file is known:
    of the footer of parquet, which tells of all that lies before it, and of the whole of a text.
    """

    name: str
    path: str
    size: int | None
    rows: int
    start: int
    columns: dict[str, str]
    footer: str
    table: ParquetTable | TextTable

    def read(self, batch_size: int = BATCH) -> Iterator[tuple[int, Columns]]:
        """(position of its first row, columns) of some rows at a time. RequestError when it is damaged."""
        position = self.start
        for columns in self.table.read(self.columns, TEXTS, batch_size):
            yield position, columns
            position += len(columns["url"] if "url" in columns else columns["caption"])


def find_metadata(
    pattern: str, filters: Filters, given: Mapping[str, str | None] | None = None
) -> list[MetadataFile]:
    """The tables in the order of their names, each with all columns that the filters ask for, or RequestError.

    given: our name -> the table's, as an option says.
    """
    found = find_tables(pattern, "--metadata")
    folder = os.path.commonpath([os.path.dirname(file.path) for file in found])
    files: list[MetadataFile] = []
    start = 0
    for file in found:
        table, path = open_table(file), file.path
        rows, digest = table.measure()
        names = table.names()
        columns = find_columns(names, path, given or {})
        for column, option in filters.needs():
            require(columns, column, names, path, option)
        asked = (ours for ours, theirs in (given or {}).items() if theirs is not None)
        needed = {"url", "caption", *asked, *(column for column, _ in filters.needs())}
        name = os.path.relpath(path, folder) if folder else path
        columns = check_types(columns, needed, table, path)
        files.append(MetadataFile(name, path, file.size, rows, start, columns, digest, table))
        start += rows
    return files


def digest_metadata(files: Sequence[MetadataFile]) -> str:
    """sha256 over names, sizes and footers: other metadata has another one."""
    return digest_files((file.name, file.size, file.footer) for file in files)


def select(columns: Columns, chosen: np.ndarray) -> Columns:
    """The rows at the indices `chosen`."""
    indices = pa.array(chosen)
    return {ours: column.take(indices) for ours, column in columns.items()}


def make_rows(
    columns: Columns, positions: np.ndarray, digits: int, names: Sequence[str], notes: Counter[str]
) -> Iterator[Row]:
    """Rows whose keys are their positions in so many digits.

    names: the columns that any file has, so that all rows of the plan have the same ones; a file that lacks one
    has null there. notes: counts captions that had to be cut.
    """
    count = len(positions)
    sources = [name for name in names if name not in PLAN]
    values = [source_values(name, columns[name]) if name in columns else [None] * count for name in sources]
    digests = columns["digest"].to_pylist() if "digest" in columns else [None] * count
    known = zip(*values, strict=True) if values else iter([()] * count)
    for position, url, caption, digest, more in zip(
        positions.tolist(), columns["url"].to_pylist(), columns["caption"].to_pylist(), digests, known, strict=True
    ):
        yield Row(
            key=f"{position:0{digits}d}",
            location=clean_url(url),
            captions=read_captions(caption, notes),
            digest=clean_digest(digest),
            extra=dict(zip(sources, more, strict=True)),
        )


def source_values(name: str, column: pa.Array) -> list[Any]:
    """A column as JSON has it: None for null, NaN and infinities; whole numbers of pixels."""
    values: list[Any] = column.to_pylist()
    if name in TEXTS:
        texts = [None if value is None else value.decode("utf-8", "replace") for value in values]
        return list(map(clean_licence, texts)) if name == LICENCE else texts
    finite = (value if value is not None and math.isfinite(value) else None for value in values)
    if name in WHOLE:
        return [int(value) if value is not None and abs(value) < 2**63 else None for value in finite]
    return [None if value is None else float(value) for value in finite]
