"""The rows of all tars, put in the order of their keys on disk: a plan's keys rise, and there may be millions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from t2i_shards.pipeline.shards.sample import is_key
from t2i_shards.pipeline.sources.row import Row

LONGEST = 64
"""Characters of a key that is kept: with a member's name behind it, it must fit into the header of a tar."""
INPUT_KEY = "input_key"
"""The column of a plan that holds a sample's key in its tar, where it could not be kept."""


class RowsOnDisk:
    """Rows are added in the order of the files; given back by their own keys, or by new ones."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE;"
            "CREATE TABLE rows (position INTEGER PRIMARY KEY, key TEXT, row TEXT); BEGIN"
        )
        self._legal = self._rising = True
        self._last = ""

    def add(self, row: Row) -> None:
        self._legal = self._legal and is_key(row.key) and len(row.key) <= LONGEST
        self._rising = self._rising and row.key > self._last
        self._last = row.key
        self._db.execute("INSERT INTO rows (key, row) VALUES (?, ?)", (row.key, json.dumps(asdict(row))))

    def __iter__(self) -> Iterator[Row]:
        """With their own keys where all are legal and no two the same; else numbered as they were added."""
        own = self._legal and (self._rising or self._are_unique())
        by = "key" if own and not self._rising else "position"
        with closing(self._db.execute(f"SELECT position, row FROM rows ORDER BY {by}")) as found:
            for position, text in found:
                record = json.loads(text)
                row = Row(**{**record, "captions": tuple(record["captions"])})
                if not own:
                    extra = {**row.extra, INPUT_KEY: row.key}
                    row = replace(row, key=f"{position - 1:09d}", extra=extra)
                yield row

    def _are_unique(self) -> bool:
        [(rows, keys)] = self._db.execute("SELECT count(*), count(DISTINCT key) FROM rows")
        return bool(rows == keys)

    def close(self) -> None:
        self._db.close()
