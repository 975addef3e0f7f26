"""The receipts of a column as an Arrow table: about 170 bytes each, and no Python object for each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from t2i_shards.extractors.records import BadRecord, Count, decode_record
from t2i_shards.pipeline.shards.receipt import DIGESTS, MOST_SAMPLES, Receipt, digest_json

SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("planned", pa.int32()),
        ("samples", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.binary(32)),
        ("keys", pa.binary(32)),
        ("recipe", pa.string()),
        ("input", pa.binary()),
        ("drops", pa.string()),
        ("dropped", pa.string()),
        ("rows", pa.binary()),
        ("seconds", pa.float64()),
        ("first", pa.binary()),
        ("erased", pa.string()),
    ]
)
"""The fields of Receipt, digests as 32 bytes. drops, dropped, erased: as JSON, null where there are none."""
ERASURE = ("first", "erased")
"""Columns that a file has only where samples were erased."""
STORED = pa.schema([field for field in SCHEMA if field.name not in ERASURE])
"""The columns that every file has."""
NEVER_NULL = ("shard", "planned", "samples", "bytes", "sha256", "keys", "recipe", "seconds")


class ReceiptTable(Mapping[int, Receipt]):
    """The receipts of `column`, by shard, ascending. table: of SCHEMA, `recipe` as a dictionary.

    The receipts are made one by one, as they are asked for.
    """

    def __init__(self, column: str, table: pa.Table) -> None:
        self.column, self.table = column, table
        self.shards = to_numbers(table["shard"])
        """int32 (N,), ascending."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ReceiptTable, (self.column, self.table)

    def __len__(self) -> int:
        return len(self.shards)

    def __iter__(self) -> Iterator[int]:
        return iter(self.shards.tolist())

    def __getitem__(self, shard: int) -> Receipt:
        row = self.row(shard)
        if row is None:
            raise KeyError(shard)
        return self._receipt({name: self.table[name][row].as_py() for name in SCHEMA.names})

    def __contains__(self, shard: object) -> bool:
        return isinstance(shard, (int, np.integer)) and self.row(int(shard)) is not None

    def row(self, shard: int) -> int | None:
        """The row of a shard; None when it is not there."""
        row = int(np.searchsorted(self.shards, shard))
        return row if row < len(self.shards) and self.shards[row] == shard else None

    def receipts(self) -> Iterator[Receipt]:
        """All of them, in order."""
        for batch in self.table.to_batches(max_chunksize=1000):
            yield from map(self._receipt, batch.to_pylist())

    def _receipt(self, record: dict[str, Any]) -> Receipt:
        for name in DIGESTS:
            if record[name] is not None:
                record[name] = record[name].hex()
        for name in ("drops", "dropped"):
            record[name] = msgspec.json.decode(record[name]) if record[name] else {}
        record["erased"] = tuple(msgspec.json.decode(record["erased"])) if record["erased"] else ()
        return Receipt(column=self.column, **record)

    def within(self, first: int, stop: int) -> ReceiptTable:
        """Those of shards `first` to `stop - 1`."""
        begin, end = np.searchsorted(self.shards, (first, stop)).tolist()
        return (
            self if end - begin == len(self) else ReceiptTable(self.column, self.table.slice(begin, end - begin))
        )

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers."""
        return to_numbers(self.table[name])

    def find_other_recipe(self, recipe: str) -> list[int]:
        """The shards that were made by another recipe."""
        other = [
            np.isin(
                to_numbers(chunk.indices), [n for n, of in enumerate(chunk.dictionary.to_pylist()) if of != recipe]
            )
            for chunk in self.table["recipe"].chunks
        ]
        shards: list[int] = self.shards[np.concatenate(other)].tolist() if other else []
        return shards

    def find_other_input(self, images: ReceiptTable) -> list[int]:
        """The shards that were not made from those of images, or from none that is there."""
        if not images:
            return list(self)
        at = np.minimum(np.searchsorted(images.shards, self.shards), len(images) - 1)
        there = images.shards[at] == self.shards
        inputs = images.identities
        if not np.array_equal(images.shards, self.shards):
            inputs = inputs.take(from_numbers(at, pa.int64()))
        same = np.zeros(len(self), bool)
        same[find_true(pc.equal(self.table["input"], inputs))] = True
        shards: list[int] = self.shards[~(there & same)].tolist()
        return shards

    def counts(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(shard, `drops` or `dropped`) of the shards that have any."""
        texts = self.table[name]
        for row in find_true(texts.is_valid()).tolist():
            yield int(self.shards[row]), msgspec.json.decode(texts[row].as_py())

    @property
    def identities(self) -> pa.ChunkedArray:
        """Those of the receipts, 32 bytes each, as pa.binary()."""
        return pc.coalesce(self.table["first"], self.table["sha256"].cast(pa.binary()))

    @cached_property
    def digest(self) -> str:
        """`digest_receipts` of all, without a list of them: sha256 of JSON as `to_json` writes it."""
        if not len(self):
            return digest_json([])
        hashing, before = hashlib.sha256(b"["), "\n"
        named = pa.table([self.table["shard"], self.identities, self.table["keys"]], ["shard", "identity", "keys"])
        for batch in named.to_batches(max_chunksize=10_000):
            lines = [
                f' [\n  {shard},\n  "{identity.hex()}",\n  "{keys.hex()}"\n ]'
                for shard, identity, keys in zip(*(column.to_pylist() for column in batch), strict=True)
            ]
            hashing.update((before + ",\n".join(lines)).encode())
            before = ",\n"
        hashing.update(b"\n]\n")
        return hashing.hexdigest()


def digest_receipts(receipts: Mapping[int, Receipt]) -> str:
    """The digest of a column's content: of every shard's number, identity and keys."""
    if isinstance(receipts, ReceiptTable):
        return receipts.digest
    return digest_json([[shard, receipts[shard].identity, receipts[shard].keys] for shard in sorted(receipts)])


def tabulate(column: str, receipts: Iterable[Receipt]) -> ReceiptTable:
    """The table of these receipts, which ascend."""
    made = list(receipts)
    arrays = []
    for field in SCHEMA:
        values = [getattr(receipt, field.name) for receipt in made]
        if field.name in DIGESTS:
            arrays.append(from_texts([value and bytes.fromhex(value) for value in values], field.type))
        elif field.name in ("drops", "dropped", "erased"):
            arrays.append(
                from_texts([msgspec.json.encode(value) if value else None for value in values], field.type)
            )
        elif field.name == "recipe":
            arrays.append(from_texts([value.encode() for value in values], field.type))
        else:
            arrays.append(from_numbers(np.array(values, field.type.to_pandas_dtype()), field.type))
    return from_table(column, pa.Table.from_arrays(arrays, schema=SCHEMA))


def from_table(column: str, table: pa.Table) -> ReceiptTable:
    """The receipts in a table of SCHEMA."""
    at = SCHEMA.get_field_index("recipe")
    return ReceiptTable(column, table.set_column(at, "recipe", pc.dictionary_encode(table["recipe"])))


def to_table(receipts: ReceiptTable) -> pa.Table:
    """The table of SCHEMA, as `from_table` takes it."""
    return receipts.table.cast(SCHEMA)


def to_stored(receipts: ReceiptTable) -> pa.Table:
    """The table as it is stored: as earlier versions had it where nothing was erased."""
    table = to_table(receipts)
    return table.drop_columns(list(ERASURE)) if table["first"].null_count == len(table) else table


def from_stored(table: pa.Table) -> pa.Table:
    """A stored table with all columns of SCHEMA. Raises BadRecord for one of another type."""
    arrays = [table[n] if n in table.column_names else pa.nulls(len(table), SCHEMA.field(n).type) for n in ERASURE]
    try:
        whole = table.select(STORED.names)
        for name, array in zip(ERASURE, arrays, strict=True):
            whole = whole.append_column(SCHEMA.field(name), array.cast(SCHEMA.field(name).type))
    except pa.ArrowException as error:
        raise BadRecord(str(error)) from None
    return whole


def join_tables(column: str, parts: Iterable[ReceiptTable]) -> ReceiptTable:
    """One table of several, whose shards are different ones."""
    tables = [to_table(part) for part in parts if len(part)]
    joined = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    shards = to_numbers(joined["shard"])
    if np.any(shards[1:] < shards[:-1]):
        joined = joined.take(from_numbers(np.argsort(shards, kind="stable"), pa.int64()))
    return from_table(column, joined.combine_chunks())


def check_rows(column: str, table: pa.Table, shards: range) -> ReceiptTable:
    """The receipts of exactly these shards. Raises BadRecord for what `Receipt.decode` would refuse."""
    found = from_table(column, table)
    if found.shards.tolist() != list(shards):
        raise BadRecord(f"must have the shards {shards.start} to {shards.stop - 1}")
    for name in ("input", "rows", "first"):
        if set(pc.unique(pc.binary_length(table[name])).to_pylist()) - {32, None}:
            raise BadRecord(f"{name} must be a digest")
    planned, samples = found.numbers("planned").astype(np.int64), found.numbers("samples").astype(np.int64)
    dropped = np.zeros(len(found), np.int64)
    texts = table["drops"].to_pylist()
    for row, text in enumerate(texts):
        if text is not None:
            dropped[row] = sum(decode_record(text.encode(), dict[str, Count]).values())
    for text in table["dropped"].drop_null().to_pylist():
        decode_record(text.encode(), dict[str, str])
    for text in table["erased"].drop_null().to_pylist():
        decode_record(text.encode(), list[str])
    if min(planned.min(), samples.min(), found.numbers("bytes").min()) < 0 or planned.max() > MOST_SAMPLES:
        raise BadRecord("must have counts in their range")
    if not np.array_equal(samples + dropped, planned):
        raise BadRecord("samples + drops must be what was planned")
    return found


def to_numbers(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """The numbers of a column without nulls. (pyarrow's own way imports pandas, which takes half a second.)"""
    kind = column.type.to_pandas_dtype()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [np.frombuffer(c.buffers()[1], kind)[c.offset : c.offset + len(c)] for c in chunks if len(c)]
    return parts[0] if len(parts) == 1 else np.concatenate([np.array([], kind), *parts])


def from_numbers(numbers: np.ndarray, kind: pa.DataType) -> pa.Array:
    """The array of these numbers, whose dtype is that of `kind`."""
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers))])


def from_texts(values: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """The array of these bytes, None as null. kind: binary, of any or of fixed length, or a string of UTF-8."""
    valid = np.packbits(np.array([value is not None for value in values], bool), bitorder="little")
    if pa.types.is_fixed_size_binary(kind):
        data = b"".join(value or bytes(kind.byte_width) for value in values)
        return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(valid), pa.py_buffer(data)])
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value or b"") for value in values], out=ends[1:])
    data = b"".join(value or b"" for value in values)
    return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(valid), pa.py_buffer(ends), pa.py_buffer(data)])


def find_true(mask: pa.ChunkedArray) -> np.ndarray:
    """uint64, where the mask is true; a null is not."""
    # Of no chunks: pyarrow before 26.0.1 reads outside of its memory.
    return to_numbers(pc.indices_nonzero(mask)) if len(mask) else np.array([], np.uint64)
