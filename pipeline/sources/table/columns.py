"""Which column of a table holds the pictures, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.tables.find import check_types
from t2i_shards.pipeline.sources.tables.parquet_table import ParquetTable, is_text
from t2i_shards.pipeline.sources.tables.spellings import SPELLINGS, find_columns
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
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
