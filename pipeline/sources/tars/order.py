"""The rows of all tars, put in the order of their keys on disk: a plan's keys rise, and there may be millions."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from t2i_shards.pipeline.scratch import make_scratch, temporary_folder
from t2i_shards.pipeline.shards.sample import is_key
from t2i_shards.pipeline.sources.base import Counted
from t2i_shards.pipeline.sources.row import Row

LONGEST = 64
"""Characters of a key that is kept: with a member's name behind it, it must fit into the header of a tar."""
INPUT_KEY = "input_key"
"""The column of a plan that holds a sample's key in its tar, where it could not be kept."""


@dataclass
class Keys(Counted):
    """What is known of the keys of some rows. rising: each comes after the one before it.

    least, most: the first and the last as Python compares them.
    """

    legal: bool = True
    rising: bool = True
    least: str = ""
    most: str = ""

    def add(self, key: str) -> None:
        self.legal = self.legal and is_key(key) and len(key) <= LONGEST
        self.rising = self.rising and key > self.most  # which is the one before it as long as they rise
        self.least = min(self.least, key) if self.rows else key
        self.most = max(self.most, key)
        self.rows += 1


class RowsOnDisk:
    """Rows are added in the order of the files; given back by their own keys, or by new ones."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE;"
            "CREATE TABLE rows (position INTEGER PRIMARY KEY, key TEXT, row TEXT); BEGIN"
        )
        self._keys = Keys()

    def add(self, row: Row) -> None:
        self._keys.add(row.key)
        self._db.execute("INSERT INTO rows (key, row) VALUES (?, ?)", (row.key, encode_row(row)))

    def __iter__(self) -> Iterator[Row]:
        """With their own keys where all are legal and no two the same; else numbered as they were added."""
        own = self._keys.legal and (self._keys.rising or self._are_unique())
        by = "key" if own and not self._keys.rising else "position"
        with closing(self._db.execute(f"SELECT position, row FROM rows ORDER BY {by}")) as found:
            for position, text in found:
                row = decode_row(text)
                yield row if own else number_row(row, position - 1)

    def _are_unique(self) -> bool:
        [(rows, keys)] = self._db.execute("SELECT count(*), count(DISTINCT key) FROM rows")
        return bool(rows == keys)

    def close(self) -> None:
        self._db.close()


def order_on_disk(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows as a plan has them: `RowsOnDisk`, in a folder that is removed."""
    folder = make_scratch(temporary_folder())
    try:
        with closing(RowsOnDisk(folder)) as ordered:
            for row in rows:
                ordered.add(row)
            yield from ordered
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def number_row(row: Row, position: int) -> Row:
    """The row with its position for a key, and the one that it had in a column of its own."""
    return replace(row, key=f"{position:09d}", extra={**row.extra, INPUT_KEY: row.key})


def encode_row(row: Row) -> str:
    """One line of JSON."""
    return json.dumps(asdict(row))


def decode_row(text: str | bytes) -> Row:
    record = json.loads(text)
    return Row(**{**record, "captions": tuple(record["captions"])})
