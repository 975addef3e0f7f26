"""Planning in workers: each part of a source is counted, and then written as the shards that begin in it.

The files are those that `write_segment` makes of all rows, whatever the number of workers. The names of what is
left out wait in drafts, so that they are written in the order of the source and nobody holds more than 100,000.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice
from typing import TypeAlias

from t2i_shards.pipeline.dataset.left_out import NOTES
from t2i_shards.pipeline.dataset.plan import Segment, end_segment, write_shards
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.shards.receipt import to_compact_json
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.sources.base import Counted, Part, Seen, Source
from t2i_shards.pipeline.sources.left_out import LeftOut, Named
from t2i_shards.pipeline.stages.stage import Stage, StageResult

LONG = 10.0
"""Seconds of one process for which workers are worth their start: a million rows of tables, a GB of tars."""

Run: TypeAlias = Callable[[Stage, int, Callable[[StageResult], None]], Sequence[StageResult]]
"""(a stage, how many parts, a callback for what was made of each) -> what was made of each, in order.

Raises IncompleteError where one could not be made."""


@dataclass(frozen=True)
class PartResult(StageResult):
    """counted: what the part told. seen: rows of the input. counts: what the source counted. names: drafts that
    hold the names of what is left out. digests: of the plan files that were written."""

    counted: Counted = field(default_factory=Counted)
    seen: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


@dataclass
class CountParts(Stage):
    """Stage: part -> how many rows it gives, and what it leaves out."""

    drafts: PlanDrafts
    parts: Sequence[Part]

    def __call__(self, shard: int) -> PartResult:
        names, rows = list[str](), list[int]()

        def save(named: Sequence[Named]) -> None:
            path = self.drafts.path(shard, f"names-{len(names)}")
            self.drafts.store.create_bytes(path, to_compact_json(named))
            names.append(path)

        left_out = LeftOut(save)
        counted = self.parts[shard].count(left_out, rows.append)
        left_out.flush()
        return PartResult(counted=counted, seen=sum(rows), counts=dict(left_out), names=tuple(names))


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
        return PartResult(counts=dict(counts), digests=tuple(digests))


def find_parts(source: Source, drafts: PlanDrafts) -> Sequence[Part]:
    """The parts of a source whose plan is better made in workers; else none."""
    parts = source.parts(drafts)
    return parts if len(parts) > 1 and _is_long(parts) else ()


def _is_long(parts: Sequence[Part]) -> bool:
    return sum(part.seconds for part in parts) >= LONG


def write_parts(
    source: Source,
    drafts: PlanDrafts,
    parts: Sequence[Part],
    shard_size: int,
    left_out: LeftOut,
    seen: Seen,
    run: Run,
) -> Segment:
    """`write_segment` of the rows of all parts, in workers. left_out, seen: as `Source.rows` has them.

    Tables are read twice, to know which row begins a shard, and to write the shards.
    """

    def tell(made: StageResult) -> None:
        if isinstance(made, PartResult):
            seen(made.seen)

    store = drafts.store
    told = _results(run(CountParts(drafts, parts), len(parts), tell))
    arranged = source.arrange(parts, [result.counted for result in told])
    starts = list(accumulate((rows for _, rows in arranged), initial=0))
    stage = WriteParts(store, [part for part, _ in arranged], starts, shard_size)
    write = run if _is_long(stage.parts) else _run_here
    written = _results(write(stage, len(arranged), lambda _: None))
    for result in told:
        left_out.update(result.counts)
        for path in result.names:
            for reason, location in json.loads(bytes(store.load(path))):
                left_out.keep(reason, location)
    for result in written:
        left_out.update({name: count for name, count in result.counts.items() if name in NOTES})
    digests = [digest for result in written for digest in result.digests]
    return end_segment(store, 0, digests, starts[-1])


def _run_here(stage: Stage, parts: int, done: Callable[[StageResult], None]) -> list[StageResult]:
    return [stage(part) for part in range(parts)]


def _results(made: Sequence[StageResult]) -> list[PartResult]:
    return [result for result in made if isinstance(result, PartResult)]
