"""Tables in files: found by a pattern, opened by their ending, their columns known by what sets call them.

Those that gzip has packed are unpacked as they are read, and never to more than such a file can honestly hold.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, BinaryIO, cast

import pyarrow as pa

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.input_files import InputFile, Pattern
from t2i_shards.pipeline.sources.files import find_files
from t2i_shards.pipeline.sources.tables.parquet_table import ParquetTable, is_number, is_text, is_texts
from t2i_shards.pipeline.sources.tables.text_table import TextTable

BATCH = 1 << 16
TEXTS = frozenset({"url", "caption", "digest", "language", "hash"})
TEXT_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
PACKED = ".gz"
"""Behind the ending of texts that gzip has packed."""
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
    if ours == "caption":
        return is_texts(kind)
    return is_number(kind) and (ours not in TEXTS or ours == "hash")


BUFFER = 1 << 20
RATIO = 100
"""Times its size that a file may unpack to. Lists of URLs and captions take 3 to 10; gzip itself can do 1,032."""
FREE = 64 << 20
"""Bytes that any file may unpack to."""


class Unpacked(io.RawIOBase):
    """The content of a gzip file of `size` bytes. Reading raises RequestError where it is damaged or unpacks to
    too much. path: as it is shown. size: None where it is not known; what has been read of the file then counts.
    """

    def __init__(self, packed: BinaryIO, path: str, size: int | None) -> None:
        self._packed, self._path, self._size, self._unpacked = packed, path, size, 0
        self._file = gzip.GzipFile(fileobj=io.BufferedReader(cast(io.RawIOBase, packed), BUFFER))

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        view = memoryview(into).cast("B")
        try:
            data = self._file.read(len(view))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RequestError(f"{self._path}: must be a whole gzip file ({error})") from None
        self._unpacked += len(data)
        size = self._packed.tell() if self._size is None else self._size
        if self._unpacked > (most := max(FREE, RATIO * size)):
            raise RequestError(f"{self._path}: must unpack to at most {most} bytes, {RATIO} times its size")
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        self._packed.close()
        super().close()


def open_packed(packed: BinaryIO, path: str, size: int | None) -> BinaryIO:
    """The content of a gzip file, to be read once from its start."""
    return cast(BinaryIO, Unpacked(packed, path, size))


SPELLINGS: dict[str, tuple[str, ...]] = {
    "url": ("url", "image_url", "image_link", "img_url"),
    "caption": ("caption", "text", "alt_text", "alt", "captions"),
    "digest": ("sha256",),
    "width": ("original_width", "width"),
    "height": ("original_height", "height"),
    "aesthetic": ("aesthetic_score", "aesthetic", "aesthetic_score_laion_v2"),
    "pwatermark": ("pwatermark", "watermark_score"),
    "punsafe": ("punsafe",),
    "similarity": (
        "similarity",
        "clip_l14_similarity_score",
        "clip_similarity_vitl14",
        "clip_b32_similarity_score",
    ),
    "language": ("language", "lang"),
    "hash": ("hash",),
}
"""Our name of a column -> what it is called, the best first, in any mixture of capitals.

LAION-400M, LAION-5B and its Aesthetics and COCO subsets: URL TEXT WIDTH HEIGHT similarity punsafe pwatermark
AESTHETIC_SCORE (V2) or aesthetic (V1) LANGUAGE hash. Re-LAION and whatever img2dataset has written: url caption
original_width original_height sha256, where width and height are of the picture as it was stored, not as it lies
at the URL. DataComp: url text original_width original_height clip_l14_similarity_score sha256. COYO: url text
width height aesthetic_score_laion_v2 watermark_score. LAION's `hash` is of URL and caption, not of the picture.
"""


def find_columns(
    names: Iterable[str], file: str, given: Mapping[str, str | None], needed: Sequence[str] = ("url", "caption")
) -> dict[str, str]:
    """Our name -> the name in `file`, for all that it has. RequestError for one that it lacks of `needed`.

    given: our name -> the file's, as an option says; None where it says nothing.
    """
    names = list(names)
    by_lower = {name.lower(): name for name in reversed(names)}
    found = {
        ours: next((by_lower[spelling] for spelling in spellings if spelling in by_lower), None)
        for ours, spellings in SPELLINGS.items()
    }
    columns = {ours: theirs for ours, theirs in found.items() if theirs is not None}
    for ours, theirs in given.items():
        if theirs is not None:
            if theirs not in names:
                had = ", ".join(names) or "none"
                raise RequestError(f"{file}: has no column {theirs!r} for --{ours}-column; it has {had}")
            columns[ours] = theirs
    if twice := [theirs for theirs in columns.values() if names.count(theirs) > 1]:
        raise RequestError(f"{file}: must have each column once, and has {twice[0]} several times")
    for ours in needed:
        require(columns, ours, names, file, "")
    return columns


def require(columns: Iterable[str], needed: str, names: Iterable[str], file: str, asker: str) -> None:
    """Raise RequestError unless `needed`, one of our names, is among the columns that were found in `file`."""
    if needed not in columns:
        spelt = " or ".join(SPELLINGS[needed])
        why = f" for {asker}" if asker else f", or the one that --{needed}-column names"
        raise RequestError(f"{file}: must have a column {spelt}{why}; it has {', '.join(names) or 'none'}")
