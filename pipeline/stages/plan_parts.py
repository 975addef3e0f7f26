"""Planning in workers: each part of a source is counted, and then written as the shards that begin in it.

The files are those that `write_segment` makes of all rows, whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice
from typing import TypeAlias

from t2i_shards.pipeline.dataset.left_out import NOTES
from t2i_shards.pipeline.dataset.plan import Segment, end_segment, write_shards
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.sources.base import Part, Seen, Source
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.stages.stage import Stage, StageResult

MANY = 1_000_000
"""Rows of the input for which workers are worth their start."""

Run: TypeAlias = Callable[[Stage, int, Callable[[int], None]], Sequence[StageResult]]
"""(a stage, how many parts, a callback for each that is done) -> what was made of each, in order.

Raises IncompleteError where one could not be made."""


@dataclass(frozen=True)
class PartResult(StageResult):
    """rows: of the plan. counts: what the source counted. digests: of the plan files that were written."""

    rows: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    digests: tuple[str, ...] = ()


@dataclass
class CountParts(Stage):
    """Stage: part -> how many rows it gives, and what it leaves out."""

    parts: Sequence[Part]

    def __call__(self, shard: int) -> PartResult:
        counts = LeftOut()
        return PartResult(rows=self.parts[shard].count(counts), counts=dict(counts))


@dataclass
class WriteParts(Stage):
    """Stage: part -> the plan files of the shards whose first row is in it.

    starts: of each part the place of its first row among all, and behind them how many rows there are.
    """

    store: Store
    parts: Sequence[Part]
    starts: Sequence[int]
    shard_size: int

    def __call__(self, shard: int) -> PartResult:
        start, stop, size = self.starts[shard], self.starts[shard + 1], self.shard_size
        first, end = -(-start // size), -(-stop // size)
        if first == end:
            return PartResult()
        counts = LeftOut()
        rows = chain.from_iterable(part.rows(counts) for part in self.parts[shard:])
        for _ in islice(rows, first * size - start):
            pass  # they are in a shard that began before
        counts.clear()
        count = min(end * size, self.starts[-1]) - first * size
        digests, written = write_shards(self.store, islice(rows, count), size, first)
        if written != count:
            raise IncompleteError(f"part {shard} of the source gave {written} rows, and {count} when counted")
        return PartResult(rows=written, counts=dict(counts), digests=tuple(digests))


def find_parts(source: Source) -> Sequence[Part]:
    """The parts of a source whose plan is better made in workers; else none."""
    parts = source.parts()
    return parts if len(parts) > 1 and sum(part.size for part in parts) >= MANY else ()


def write_parts(
    store: Store, parts: Sequence[Part], shard_size: int, left_out: LeftOut, seen: Seen, run: Run
) -> Segment:
    """`write_segment` of the rows of all parts, in workers. left_out, seen: as `Source.rows` has them.

    The source is read twice: to know which row begins a shard, and to write the shards.
    """

    def tell(part: int) -> None:
        seen(parts[part].size)

    counted = _results(run(CountParts(parts), len(parts), tell))
    starts = list(accumulate((result.rows for result in counted), initial=0))
    written = _results(run(WriteParts(store, parts, starts, shard_size), len(parts), lambda _: None))
    for results, notes in ((counted, False), (written, True)):
        for result in results:
            left_out.update({name: n for name, n in result.counts.items() if (name in NOTES) == notes})
    digests = [digest for result in written for digest in result.digests]
    return end_segment(store, 0, digests, starts[-1])


def _results(made: Sequence[StageResult]) -> list[PartResult]:
    return [result for result in made if isinstance(result, PartResult)]
