"""The tables of the metadata: found, their columns checked, read a few rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2i_shards.pipeline.sources.files import digest_files
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.tables.find import BATCH, TEXTS, Columns, check_types, find_tables, open_table
from t2i_shards.pipeline.sources.tables.parquet_table import ParquetTable
from t2i_shards.pipeline.sources.tables.spellings import find_columns, require
from t2i_shards.pipeline.sources.tables.text_table import TextTable


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
        needed = {"url", "caption", *(column for column, _ in filters.needs())}
        name = os.path.relpath(path, folder) if folder else path
        columns = check_types(columns, needed, table, path)
        files.append(MetadataFile(name, path, file.size, rows, start, columns, digest, table))
        start += rows
    return files


def digest_metadata(files: Sequence[MetadataFile]) -> str:
    """sha256 over names, sizes and footers: other metadata has another one."""
    return digest_files((file.name, file.size, file.footer) for file in files)
