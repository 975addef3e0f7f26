"""Small parquet tables, whole: written to bytes, and read back after their columns were checked."""

from __future__ import annotations

import io
from collections.abc import Collection

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_shards.pipeline.errors import DamagedShard, describe_error
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.parquet import Unbounded, check_table
from t2i_shards.pipeline.shards.store import Store


def encode_table(table: pa.Table) -> bytes:
    """The same table gives the same bytes."""
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def read_table(store: Store, path: str, schema: pa.Schema, whole: Collection[str] = ()) -> pa.Table:
    """`decode_table` of a file. Raises FileNotFoundError, DamagedShard."""
    return decode_table(store.load(path), path, schema, whole)


def decode_table(
    data: bytes | memoryview,
    path: str,
    schema: pa.Schema,
    whole: Collection[str] = (),
    more: bool = False,
    optional: Collection[str] = (),
) -> pa.Table:
    """The columns of `schema` in the parquet file `data`, and with `more` all others behind them.

    whole: columns without nulls. optional: columns that files of earlier versions lack; they are then missing from
    the table as well. Raises DamagedShard, which names `path`, for what is no parquet file, for a
    column that is missing or of another type, for a null in `whole`, for text that is not UTF-8, and for one that
    would take far more memory than its bytes are worth.
    """
    try:
        check_table(data)
        with pq.ParquetFile(pa.BufferReader(pa.py_buffer(data))) as file:
            table = _choose_columns(file, schema, more, optional)
        table.validate(full=True)
    except (DamagedShard, Unbounded) as error:
        raise DamagedShard(tell_damage(path, str(error))) from None
    # Damage in the right place makes Arrow raise nearly anything, such as MemoryError or KeyError.
    except Exception as error:
        raise DamagedShard(tell_damage(path, f"not a parquet file ({describe_error(error)[:200]})")) from None
    for name in whole:
        if table[name].null_count:
            raise DamagedShard(tell_damage(path, f"{name} must have no nulls"))
    return table


def _choose_columns(file: pq.ParquetFile, schema: pa.Schema, more: bool, optional: Collection[str]) -> pa.Table:
    found = file.schema_arrow
    if len(set(found.names)) != len(found.names):
        raise DamagedShard("it has a column twice")
    wanted = [field for field in schema if field.name not in optional or field.name in found.names]
    for field in wanted:
        index = found.get_field_index(field.name)
        if index < 0 or not _fits(found.field(index).type, field.type):
            has = "none" if index < 0 else str(found.field(index).type)[:100]
            raise DamagedShard(f"must have a column {field.name} of type {field.type}, and has {has}")
    others = [name for name in found.names if name not in schema.names] if more else []
    # pyarrow's threads may outlive the interpreter, which then aborts.
    return file.read(columns=[*(field.name for field in wanted), *others], use_threads=False)


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column is of the type; an empty one has no type of its own."""
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return _fits(found.value_type, wanted.value_type)
    return bool(found == wanted or pa.types.is_null(found))
