"""Tables as lines of text: CSV, TSV and JSON, read a few rows at a time; each line or record is a row.

Their encoding is UTF-16 by a byte order mark or by NULs, else UTF-8, else Windows-1252, as that of captions.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, cast

import pyarrow as pa

from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.pipeline.sources.captions import decode_text, find_utf16
from t2i_shards.pipeline.sources.licence import LICENCE, clean_licence

LINE = 1 << 20
"""Bytes or characters; what is longer is no line of a list, and is read in pieces."""
BUFFER = 4 << 20
HEAD, LEAST_NULS = 4096, 1 / 16
"""Bytes by which UTF-16 is known, and the share of NULs that suffices; in Chinese they are few."""
BATCH_BYTES = 256 << 20
"""Of lines that are held at once."""
SHOWN = 1000
"""Lines of JSON that are looked at for the names of columns."""

Record = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class TextTable:
    """The rows of one file. ending: .csv, .tsv (never quoted, as IANA has it), .jsonl or .ndjson."""

    open: Callable[[], BinaryIO]
    ending: str

    def names(self) -> list[str]:
        """The names of its columns: a header, or the keys of the first lines of JSON.

        A first record that holds a URL is no header. Then its column is called url; of two columns the other is
        called caption, of more the others 1, 2, …
        """
        if self._is_json:
            return list(dict.fromkeys(name for _, record in islice(self._records(), SHOWN) for name in record))
        first = [decode_text(_as_bytes(cell) or b"", "replace") for cell in next(self._cells(), [])]
        if not any(map(_is_url, first)):
            return first
        others = [str(number) if len(first) != 2 else "caption" for number in range(1, len(first) + 1)]
        return ["url" if _is_url(cell) else name for cell, name in zip(first, others, strict=True)]

    def read(self, columns: Mapping[str, str], texts: frozenset[str], size: int) -> Iterator[dict[str, pa.Array]]:
        """Our name -> values, of at most so many rows at a time.

        columns: our name -> the file's. texts: ours that are texts.
        """
        places = {theirs: index for index, theirs in enumerate(self.names())}
        for batch in self._batches(size):
            found: dict[str, pa.Array] = {}
            for ours, theirs in columns.items():
                values = [_pick(record, theirs, places.get(theirs, 0)) for record in batch]
                numbers = ours not in texts
                if ours == LICENCE:
                    values = [
                        clean_licence(value) if isinstance(value, list | Mapping) else value for value in values
                    ]
                found[ours] = (
                    pa.array(map(parse_number, values), pa.float64())
                    if numbers
                    else _as_texts(values, lists=ours == "caption")
                )
            yield found

    def _batches(self, size: int) -> Iterator[list[Record]]:
        batch, held = list[Record](), 0
        for cost, record in self._records():
            batch.append(record)
            held += cost
            if len(batch) == size or held > BATCH_BYTES:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _records(self) -> Iterator[tuple[int, Record]]:
        """(its length, a list of cells or a mapping) of each row; empty where it is neither."""
        if self._is_json:
            yield from self._json_records()
            return
        cells = self._cells()
        first = next(cells, [])
        if any(map(_is_url, first)):
            yield sum(map(len, first)), first
        for row in cells:
            yield sum(map(len, row)), row

    def measure(self) -> tuple[int, str]:
        """(rows, sha256 of the file)"""
        hashed = hashlib.sha256()
        with self.open() as stream:
            while data := stream.read(BUFFER):
                hashed.update(data)
        return sum(1 for _ in self._records()), hashed.hexdigest()

    @property
    def _is_json(self) -> bool:
        return self.ending in (".jsonl", ".ndjson")

    def _json_records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with self.open() as raw:
            stream = _buffer(raw)
            utf16 = _find_utf16(stream)
            lines = _transcode(stream, utf16) if utf16 else iter(lambda: stream.readline(LINE), b"")
            for line in lines:
                line = line.removeprefix(codecs.BOM_UTF8)
                if line.strip():
                    yield len(line), _parse_json(line)

    def _cells(self) -> Iterator[list[str]]:
        with self.open() as raw:
            stream = _buffer(raw)
            # Bytes that are not UTF-8 come back as they are, for captions have a reader of their own.
            utf16 = _find_utf16(stream)
            encoding = (utf16, "replace") if utf16 else ("utf-8-sig", "surrogateescape")
            text = io.TextIOWrapper(stream, *encoding, newline="")
            lines = iter(lambda: text.readline(LINE), "")
            if self.ending == ".tsv":
                reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                reader = csv.reader(lines)
            while True:
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error:  # a cell of more than 128 KiB: as good as a quote that is never closed
                    cells = [""]
                if cells:
                    yield cells


def parse_number(value: Any) -> float | None:
    """The number, or the text of one; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, bytes)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _buffer(stream: BinaryIO) -> io.BufferedReader:
    """A stream that asks for much at once: each read of one far away is a request."""
    return io.BufferedReader(cast(io.RawIOBase, stream), BUFFER)


def _find_utf16(stream: io.BufferedReader) -> str | None:
    """The codec of a file in UTF-16."""
    head = stream.peek(HEAD)[:HEAD]
    return find_utf16(head[: len(head) // 2 * 2], LEAST_NULS)


def _transcode(stream: io.BufferedReader, codec: str) -> Iterator[bytes]:
    """The lines of a file in UTF-16, in UTF-8."""
    text = io.TextIOWrapper(stream, codec, "replace", newline="\n")
    return (line.encode() for line in iter(lambda: text.readline(LINE), ""))


def _parse_json(line: bytes) -> Mapping[str, Any]:
    """The record in a line of UTF-8, else Windows-1252; empty where there is none."""
    with suppress(BadRecord):
        return decode_record(line, dict[str, Any])
    with suppress(BadRecord):
        return decode_record(decode_text(line, "replace").encode(), dict[str, Any])
    return {}


def _is_url(cell: str) -> bool:
    return cell.lower().startswith(("http://", "https://"))


def _pick(record: Record, name: str, index: int) -> Any:
    if isinstance(record, Mapping):
        return record.get(name)
    return record[index] if index < len(record) else None


def _as_texts(values: list[Any], lists: bool) -> pa.Array:
    """large_binary, or a list of it where a value is a list and lists are taken; else a list is nothing."""
    if lists and any(isinstance(value, list) for value in values):
        several = [value if isinstance(value, list) else [value] for value in values]
        return pa.array([[_as_bytes(of) for of in value] for value in several], pa.list_(pa.large_binary()))
    return pa.array([_as_bytes(value) for value in values], pa.large_binary())


def _as_bytes(value: Any) -> bytes | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # a hash
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else None
