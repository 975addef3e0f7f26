"""Which column of a table holds the pictures, in which form; those of some rows copied to a file of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.parquet import choose_batch, load_footer
from t2i_shards.pipeline.sources.licence import LICENCE
from t2i_shards.pipeline.sources.tables.column_names import SPELLINGS, find_columns
from t2i_shards.pipeline.sources.tables.find import check_types
from t2i_shards.pipeline.sources.tables.parquet_table import (
    READING,
    ParquetTable,
    is_text,
    refuse_damage,
    text_leaves,
)
from t2i_shards.pipeline.sources.tables.text_table import TextTable

IMAGES = ("image", "img", "picture", "photo", "jpg", "png", "image_bytes", "bytes")
PATHS = ("image", "file_name", "filename", "image_path", "path", "filepath", "file")
Form = Literal["bytes", "struct", "path"]


@dataclass(frozen=True)
class ImageColumn:
    """bytes: a file of a picture in each row. struct: {bytes, path} as `datasets` has it. path: names of files."""

    name: str
    form: Form


def find_image_column(table: ParquetTable | TextTable, path: str, asked: str | None) -> ImageColumn | None:
    """The column of the pictures; None where the table has none of a known name.

    asked: by an option. Raises RequestError where that one is not there, or is of no form.
    """
    names = table.names()
    if asked is None:
        by_lower = {name.lower(): name for name in reversed(names)}
        known = (by_lower[name] for name in (*IMAGES, *PATHS) if name in by_lower)
        return next((ImageColumn(name, form) for name in known if (form := _form(table, name))), None)
    if asked not in names:
        had = ", ".join(names) or "none"
        raise RequestError(f"{path}: has no column {asked!r} for --image-column; it has {had}")
    form = _form(table, asked)
    if form is None:
        kind = table.kind(asked) if isinstance(table, ParquetTable) else ""
        raise RequestError(
            f"{path}: its column {asked} must hold the bytes of pictures, {{bytes, path}}, or paths, "
            f"not {str(kind)[:100]}"
        )
    return ImageColumn(asked, form)


def has_urls(names: Sequence[str]) -> bool:
    """Whether one of the columns is known to hold URLs."""
    return bool(set(SPELLINGS["url"]) & {name.lower() for name in names})


def find_caption_column(table: ParquetTable | TextTable, path: str, asked: str | None) -> str:
    """The name of the column of the captions. Raises RequestError."""
    columns = find_columns(table.names(), path, {"caption": asked}, needed=("caption",))
    return check_types({"caption": columns["caption"]}, {"caption"}, table, path)["caption"]


def find_licence_column(table: ParquetTable | TextTable, path: str, asked: str | None) -> str | None:
    """The name of the column of the licences; None where there is none. Raises RequestError for one asked for."""
    found = find_columns(table.names(), path, {LICENCE: asked}, needed=())
    columns = {LICENCE: found[LICENCE]} if LICENCE in found else {}
    return check_types(columns, {LICENCE} if asked else set(), table, path).get(LICENCE)


def _form(table: ParquetTable | TextTable, name: str) -> Form | None:
    if isinstance(table, TextTable):
        return "path"
    kind: Any = table.kind(name)
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        return "struct" if "bytes" in fields and is_binary(fields["bytes"]) else None
    if is_binary(kind):
        return "bytes"
    return "path" if is_text(kind) else None


def is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


AT_ONCE = 16
"""Rows that are decoded at once; each may hold a picture of many megabytes."""
Place = tuple[int, int] | str
"""(start, bytes) in our file, or the path that a row has in their stead."""


class Pictures:
    """What the rows of one file hold: bytes, of which `file` keeps a copy, or a path."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[int, Place] = {}

    def add(self, row: int, content: bytes | None, path: str | None) -> None:
        """path counts where there are no bytes."""
        if content is not None:
            self._places[row] = (self._file.seek(0, os.SEEK_END), len(content))
            self._file.write(content)
        elif path is not None:
            self._places[row] = path

    def get(self, row: int) -> bytes | str | None:
        """The bytes of a row, or the path that it has instead; None where it has neither."""
        place = self._places.get(row)
        if not isinstance(place, tuple):
            return place
        start, size = place
        self._file.seek(start)
        return self._file.read(size)


def collect_pictures(
    stream: BinaryIO, again: BinaryIO, path: str, column: ImageColumn, rows: Sequence[int], into: Pictures
) -> None:
    """Add the pictures of these rows, which rise, to `into`. RequestError where the file is damaged.

    stream, again: the same parquet file, opened twice. path: as it is shown.
    """
    wanted = set(rows)
    with refuse_damage(path):
        _, groups = load_footer(stream)
    if rows[-1] >= sum(group.rows for group in groups):
        raise RequestError(f"{path}: must have the rows that were planned, and has fewer now")
    with refuse_damage(path), pq.ParquetFile(stream, **READING) as file:
        leaves = text_leaves(file, [column.name])
        with pq.ParquetFile(again, read_dictionary=leaves) as probe:
            start = 0
            for group in range(len(groups)):
                stop = start + groups[group].rows
                if any(start <= row < stop for row in rows):
                    size = choose_batch(probe, groups, group, leaves, AT_ONCE)
                    for row, content, name in _read_group(file, group, start, size, column):
                        if row in wanted:
                            into.add(row, content, name)
                        if row >= rows[-1]:
                            return
                start = stop


def _read_group(
    file: pq.ParquetFile, group: int, start: int, size: int, column: ImageColumn
) -> Iterator[tuple[int, bytes | None, str | None]]:
    """(row, its bytes, its path) of a row group that begins with row `start`."""
    row = start
    for batch in file.iter_batches(size, row_groups=[group], columns=[column.name], use_threads=False):
        for value in batch.column(0):
            yield (row, *_split(value.as_py()))
            row += 1


def _split(value: Any) -> tuple[bytes | None, str | None]:
    if isinstance(value, dict):
        content, path = value.get("bytes"), value.get("path")
        return content, path if isinstance(path, str) else None
    return (value, None) if isinstance(value, bytes) else (None, None)
