"""A parquet file of others as a table: its footer is read first, then a few rows at a time in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.parquet_footer import RowGroup
from t2i_shards.pipeline.shards.input_files import NO_RANGES, has_no_ranges
from t2i_shards.pipeline.shards.parquet import choose_batch, load_footer
from t2i_shards.pipeline.sources.licence import LICENCE, clean_licence
from t2i_shards.pipeline.sources.tables.text_table import parse_number

BUFFER = 4 << 20
READING: dict[str, Any] = {"buffer_size": BUFFER, "pre_buffer": False, "page_checksum_verification": True}
"""Read ahead, pyarrow keeps whatever it has read of a file until the end of it."""


@dataclass(frozen=True)
class ParquetTable:
    """path: as it is shown."""

    open: Callable[[], BinaryIO]
    path: str

    @cached_property
    def _footer(self) -> tuple[int, pa.Schema, str, list[RowGroup]]:
        """(rows, schema, sha256 of the footer, row groups)"""
        with refuse_damage(self.path), self.open() as stream:
            footer, groups = load_footer(stream)
            with pq.ParquetFile(stream) as file:
                rows, schema = file.metadata.num_rows, file.schema_arrow
            if rows != sum(group.rows for group in groups):
                raise pa.ArrowInvalid("its row groups do not have as many rows as its footer says")
            return rows, schema, hashlib.sha256(footer).hexdigest(), groups

    def measure(self) -> tuple[int, str]:
        """(rows, sha256 of the footer: it holds the schema, and where all column chunks lie and what they span)"""
        return self._footer[0], self._footer[2]

    def names(self) -> list[str]:
        return list(self._footer[1].names)

    def kind(self, name: str) -> Any:
        """The type of a column's values; of a dictionary, that of its entries."""
        kind: Any = self._footer[1].field(name).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def read(self, columns: Mapping[str, str], texts: frozenset[str], size: int) -> Iterator[dict[str, pa.Array]]:
        """Our name -> values, of at most so many rows at a time. RequestError where the file is damaged.

        columns: our name -> the file's. texts: ours that are texts.
        """
        names = list(columns.values())
        with (
            refuse_damage(self.path),
            self.open() as stream,
            pq.ParquetFile(stream, **READING) as file,
            self.open() as beside,
            pq.ParquetFile(beside, read_dictionary=text_leaves(file, names)) as probe,
        ):
            groups = self._footer[3]
            for group in range(len(groups)):
                rows = choose_batch(probe, groups, group, text_leaves(file, names), size)
                # pyarrow's threads may outlive the interpreter, which then aborts.
                for batch in file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False):
                    found = {ours: batch.column(theirs) for ours, theirs in columns.items()}
                    yield {
                        ours: _as_texts(ours, column) if ours in texts else _as_numbers(column)
                        for ours, column in found.items()
                    }


def text_leaves(file: pq.ParquetFile, names: Sequence[str]) -> list[str]:
    """The paths of the texts in these columns, those of lists and structs too."""
    columns = (file.schema.column(index) for index in range(len(file.schema)))
    return [
        leaf.path for leaf in columns if leaf.path.split(".")[0] in names and leaf.physical_type == "BYTE_ARRAY"
    ]


@contextmanager
def refuse_damage(path: str) -> Iterator[None]:
    """RequestError, in one line, for what pyarrow raises on a file that is no parquet or is damaged."""
    try:
        yield
    except FileNotFoundError:
        raise RequestError(f"{path}: disappeared while it was being read") from None
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
            raise  # the disk's or the network's own word, not pyarrow's about the content
        line = " ".join(str(error).split())[:300]
        raise RequestError(f"{path}: must be an undamaged parquet file ({line})") from None
    except ValueError as error:
        if has_no_ranges(error):
            raise RequestError(f"{path}: {NO_RANGES}") from None
        raise


def is_text(kind: Any) -> bool:
    return any(is_a(kind) for is_a in TEXT_TYPES)


def is_texts(kind: Any) -> bool:
    """Whether the type is that of a text, or of a list of texts."""
    return is_text(kind.value_type if is_list(kind) else kind)


def is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _as_numbers(column: pa.Array) -> pa.Array:
    """The numbers as they are; those in texts as float64, null where a text is none."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not is_text(column.type):
        return column
    return pa.array(map(parse_number, column.to_pylist()), pa.float64())


def _as_texts(ours: str, column: pa.Array) -> pa.Array:
    """large_binary, for nothing says that texts are UTF-8; lists of it for lists."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if ours == LICENCE and (is_list(column.type) or pa.types.is_struct(column.type)):
        return pa.array(map(clean_licence, column.to_pylist()), pa.string()).cast(pa.large_binary())
    if is_list(column.type):
        return column.cast(pa.list_(pa.large_binary()))
    if is_number(column.type):
        column = column.cast(pa.string())  # a hash of 64 bits without a sign, which a plan cannot hold
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    if ours in ("digest", "hash") and not pa.types.is_string(column.type):
        return pa.array(map(_as_hex, column.cast(pa.large_binary()).to_pylist()), pa.large_binary())
    return column.cast(pa.large_binary())


def _as_hex(value: bytes | None) -> bytes | None:
    """A text as it is, and bytes that are none in hexadecimal digits."""
    return value if value is None or (value.isascii() and value.decode().isprintable()) else value.hex().encode()


TEXT_TYPES = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)
