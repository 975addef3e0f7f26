"""LAION's metadata in parts: the rows of one table that pass, which a worker can read without the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from t2i_shards.pipeline.sources.base import Counted, Part, Seen, unseen
from t2i_shards.pipeline.sources.laion.filters import REASONS, Filters
from t2i_shards.pipeline.sources.laion.metadata import MetadataFile, make_rows, select
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tables.find import ROW_SECONDS, Columns


@dataclass(frozen=True)
class MetadataPart(Part):
    """The rows of one table that pass. digits: of a key. names: the columns that any table has."""

    file: MetadataFile
    filters: Filters
    digits: int
    names: Sequence[str]

    @property
    def seconds(self) -> float:
        return self.file.rows * ROW_SECONDS

    def count(self, left_out: Counter[str], seen: Seen = unseen) -> Counted:
        return Counted(sum(len(chosen) for _, _, chosen in self._judge(left_out, seen)))

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        for start, columns, chosen in self._judge(left_out, seen):
            yield from make_rows(select(columns, chosen), chosen + start, self.digits, self.names, left_out)

    def _judge(self, left_out: Counter[str], seen: Seen) -> Iterator[tuple[int, Columns, np.ndarray]]:
        """(position of the first row, columns, indices of the rows that pass) of some rows at a time."""
        for start, columns in self.file.read():
            seen(len(columns["url"]))
            verdict = self.filters.judge(columns)
            count_reasons(verdict, left_out)
            yield start, columns, np.flatnonzero(verdict < 0)


def count_digits(files: Sequence[MetadataFile]) -> int:
    """How many a key has."""
    return max(9, len(str(count_rows(files))))


def name_columns(files: Sequence[MetadataFile]) -> list[str]:
    """The columns that any of them has."""
    return sorted(set().union(*(file.columns for file in files)))


def count_rows(files: Sequence[MetadataFile]) -> int:
    return sum(file.rows for file in files)


def count_reasons(verdict: np.ndarray, left_out: Counter[str]) -> None:
    """Add a batch's verdicts, as `Filters.judge` gives them, to the count by reason."""
    counts = np.bincount(verdict[verdict >= 0], minlength=len(REASONS))
    left_out.update({reason: int(count) for reason, count in zip(REASONS, counts, strict=True) if count})
