"""The tables of the metadata: found, their columns checked, read a few rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.input_files import InputFile, Pattern
from t2i_shards.pipeline.sources.files import digest_files, find_files
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.parquet_table import ParquetTable, is_number, is_text, is_texts
from t2i_shards.pipeline.sources.laion.spellings import find_columns, require
from t2i_shards.pipeline.sources.laion.text_table import TextTable

BATCH = 1 << 16
TEXTS = frozenset({"url", "caption", "digest", "language", "hash"})
TEXT_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
ENDINGS = (".parquet", *TEXT_ENDINGS)
"""Of the tables that count in a folder."""

Columns = dict[str, pa.Array]
"""Our name -> values: large_binary for texts, for nothing says that they are UTF-8; numbers for the rest.

Captions may be lists of large_binary.
"""


@dataclass(frozen=True)
class MetadataFile:
    """One table. name: below the folder that all have in common; columns: our name -> the file's.

    start: position of its first row among the rows of all files. footer: a sha256 by which another file is known:
    of the footer of parquet, which tells of all that lies before it, and of the whole of a text.
    """

    name: str
    path: str
    size: int
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


def open_table(file: InputFile) -> ParquetTable | TextTable:
    """The table in a file: of texts by its ending, else parquet."""
    ending = PurePath(file.path).suffix.lower()
    if ending in TEXT_ENDINGS:
        return TextTable(file.open, ending)
    return ParquetTable(file.open, file.path, file.size)


def find_tables(pattern: str, option: str) -> list[InputFile]:
    """The tables that match the pattern that `option` gave. RequestError where there are none."""
    endings = " ".join(ENDINGS)
    rule = f"{option} must match tables ({endings}), such as 'DIR/*.parquet', or be a folder of them"
    return find_files(Pattern(pattern, ENDINGS), rule)


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


def check_types(
    columns: dict[str, str], needed: set[str], table: ParquetTable | TextTable, path: str
) -> dict[str, str]:
    """The columns whose types can be read. RequestError for one of another type that is needed."""
    if isinstance(table, TextTable):
        return columns
    fit = {ours: theirs for ours, theirs in columns.items() if _fits(ours, table.kind(theirs))}
    for ours in columns.keys() - fit.keys() & needed:
        wanted = "texts" if ours in TEXTS else "numbers"
        raise RequestError(
            f"{path}: its column {columns[ours]} must hold {wanted}, not {str(table.kind(columns[ours]))[:100]}"
        )
    return fit


def _fits(ours: str, kind: Any) -> bool:
    if pa.types.is_null(kind) or is_text(kind):
        return True  # for numbers too: a text is read as the number that it spells
    if ours == "caption":
        return is_texts(kind)
    return is_number(kind) and (ours not in TEXTS or ours == "hash")


def digest_metadata(files: Sequence[MetadataFile]) -> str:
    """sha256 over names, sizes and footers: other metadata has another one."""
    return digest_files((file.name, file.size, file.footer) for file in files)
