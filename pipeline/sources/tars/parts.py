"""Tars that workers read for a plan: the rows of each are kept in the store until all tars are known.

Keys are the tars' own where all are legal and no two the same, which no tar can tell alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TypeAlias

from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.shards.input_files import InputFile
from t2i_shards.pipeline.sources.base import Part, Seen, unseen
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tars.order import Keys, decode_row, encode_row, number_row, order_on_disk

BYTES_PER_SECOND = 100e6
"""That one process reads of tars, about: headers and texts in a folder, everything where they are far away."""
ROW_SECONDS = 50e-6
"""That it takes to write the plan of a row that was kept."""

Read: TypeAlias = Callable[[InputFile, LeftOut], Iterator[Row]]
"""(a tar, what it leaves out) -> its rows, under the keys that they have in it, no two of them the same."""


@dataclass(frozen=True)
class TarPart(Part):
    """The rows of one tar. start: how many are before it, where they are numbered; else they are in the order of
    their keys. counted: how many there are, once it is known."""

    read: Read
    file: InputFile
    drafts: PlanDrafts
    number: int
    start: int | None = None
    rising: bool = True
    counted: int | None = None

    @property
    def seconds(self) -> float:
        if self.counted is not None:
            return self.counted * ROW_SECONDS
        return (self.file.size or 0) / BYTES_PER_SECOND

    @property
    def _path(self) -> str:
        return self.drafts.path(self.number, "rows")

    def count(self, left_out: LeftOut, seen: Seen = unseen) -> Keys:
        """Keeps the rows, so that the tar is read once."""
        keys, store = Keys(), self.drafts.store
        with store.scratch() as scratch:
            with open(scratch / "rows", "w") as file:
                for row in self.read(self.file, left_out):
                    keys.add(row.key)
                    file.write(encode_row(row) + "\n")
                    seen(1)
            store.create(self._path, scratch / "rows")
        return keys

    def rows(self, left_out: LeftOut, seen: Seen = unseen) -> Iterator[Row]:
        if self.start is not None:
            yield from (number_row(row, position) for position, row in enumerate(self.kept(), self.start))
        else:
            yield from self.kept() if self.rising else sorted(self.kept(), key=lambda row: row.key)

    def kept(self) -> Iterator[Row]:
        """The rows as they are in the tar."""
        with self.drafts.store.open(self._path) as file:
            yield from map(decode_row, file)


@dataclass(frozen=True)
class MixedParts(Part):
    """The rows of tars that have to be put in order together."""

    parts: Sequence[TarPart]

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)

    def count(self, left_out: LeftOut, seen: Seen = unseen) -> Keys:
        raise NotImplementedError("its parts are counted")

    def rows(self, left_out: LeftOut, seen: Seen = unseen) -> Iterator[Row]:
        return order_on_disk(row for part in self.parts for row in part.kept())


def arrange_tars(parts: Iterable[TarPart], keys: Sequence[Keys]) -> list[tuple[Part, int]]:
    """As `Source.arrange`: numbered, or each with its own keys in the order of these.

    Where the keys of one tar lie among those of another, and it is not known that one comes twice, all rows have
    to be looked at together.
    """
    counted = [(replace(part, counted=of.rows), of) for part, of in zip(parts, keys, strict=True) if of.rows]
    ends = [end for _, of in counted for end in {of.least, of.most}]
    if len(set(ends)) < len(ends) or not all(of.legal for _, of in counted):
        starts = accumulate((of.rows for _, of in counted), initial=0)
        return [(replace(part, start=start), of.rows) for (part, of), start in zip(counted, starts, strict=False)]
    counted.sort(key=lambda one: one[1].least)
    if any(of.most > behind.least for (_, of), (_, behind) in pairwise(counted)):
        in_order = sorted((part for part, _ in counted), key=lambda part: part.number)
        return [(MixedParts(in_order), sum(of.rows for _, of in counted))]
    return [(replace(part, rising=of.rising), of.rows) for part, of in counted]
