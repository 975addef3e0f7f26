"""Tables in files: found by a pattern, opened by their ending, the types of their columns checked."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pyarrow as pa

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.input_files import InputFile, Pattern
from t2i_shards.pipeline.sources.files import find_files
from t2i_shards.pipeline.sources.licence import LICENCE, NAMING
from t2i_shards.pipeline.sources.tables.packed import PACKED, open_packed
from t2i_shards.pipeline.sources.tables.parquet_table import (
    ParquetTable,
    is_list,
    is_number,
    is_text,
    is_texts,
)
from t2i_shards.pipeline.sources.tables.text_table import TextTable

BATCH = 1 << 16
ROW_SECONDS = 10e-6
"""That one process takes for a row of a table when it plans, about."""
TEXTS = frozenset({"url", "caption", "digest", "language", "hash", LICENCE})
TEXT_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
ENDINGS = (".parquet", *TEXT_ENDINGS, *(ending + PACKED for ending in TEXT_ENDINGS))
"""Of the tables that count in a folder."""

Columns = dict[str, pa.Array]
"""Our name -> values: large_binary for texts, for nothing says that they are UTF-8; numbers for the rest.

Captions may be lists of large_binary.
"""


def open_table(file: InputFile) -> ParquetTable | TextTable:
    """The table in a file: of texts by its ending, else parquet."""
    name = file.path.lower()
    ending = PurePath(name.removesuffix(PACKED)).suffix
    if ending in TEXT_ENDINGS:
        if name.endswith(PACKED):
            return TextTable(lambda: open_packed(file.open(), file.path, file.size), ending)
        return TextTable(file.open, ending)
    return ParquetTable(file.open, file.path)


def find_tables(pattern: str, option: str) -> list[InputFile]:
    """The tables that match the pattern that `option` gave. RequestError where there are none."""
    endings = " ".join(ending for ending in ENDINGS if not ending.endswith(PACKED))
    rule = f"{option} must match tables ({endings} .csv.gz …), such as 'DIR/*.parquet', or be a folder of them"
    return find_files(Pattern(pattern, ENDINGS), rule)


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
    if ours == LICENCE and pa.types.is_struct(kind):
        return any(field.name in NAMING and is_text(field.type) for field in kind)
    if ours in ("caption", LICENCE) and is_list(kind):
        return is_texts(kind)
    return is_number(kind) and (ours not in TEXTS or ours in ("hash", LICENCE))
