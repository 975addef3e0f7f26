"""What a report shows of a dataset: numbers from receipts and from every sample, and pictures of a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import pyarrow as pa

from pipeline.dataset import IMAGES, Dataset
from pipeline.duplicates import load_duplicates, read_duplicates
from pipeline.engine import Outcome
from pipeline.errors import DamagedShard
from pipeline.plan import read_left_out
from pipeline.receipt import Receipt, digest_json
from pipeline.report.aligned import open_aligned
from pipeline.report.captions import Captioned, choose_captions, choose_limit
from pipeline.report.count import Count, Counted
from pipeline.report.describe import describe_geometry, describe_maker, describe_source
from pipeline.report.facts import ColumnFacts, DatasetFacts, Hosts
from pipeline.report.pairs import Pair, Thumbnail, choose_pairs, describe_duplicates
from pipeline.report.receipts import Receipts, count_left_out, read_receipts, sort_columns
from pipeline.report.rows import Row, choose_samples, draw_rows
from pipeline.report.tally import Tally, add_tallies
from pipeline.stage import Stage, describe_error
from pipeline.status import column_status
from pipeline.tombstones import read_tombstones
from pipeline.yields import measure_yield

Look = Callable[[Stage, Sequence[int]], Outcome]
"""Does a stage for these shards; on how many workers is the caller's."""
Removed = Mapping[int, set[str]]
"""shard -> keys."""


@dataclass(frozen=True)
class _Seen:
    """What a look at every sample gave."""

    captions: Mapping[int, Sequence[Captioned]]
    tally: Tally | None = None
    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)
    hosts: Hosts = ()
    problems: tuple[str, ...] = ()


def collect_dataset(root: str, rows: int, look: Look | None = None) -> DatasetFacts:
    """The facts of the dataset at `root`, with `rows` samples spread evenly over it.

    Every sample is looked at, shard by shard, and counted. Without `look` all numbers come from receipts, and at
    most `rows` shards of a column are opened. What is shown or counted was verified before; removed samples are
    neither. Raises RequestError when there is no dataset.
    """
    dataset = Dataset.open(root)
    columns = sort_columns(dataset.columns())
    receipts, problems = read_receipts(dataset, columns)
    statuses = [column_status(dataset, c, receipts[IMAGES], receipts[c]) for c in columns]
    removed = read_tombstones(dataset)
    table = load_duplicates(dataset, receipts[IMAGES])
    pairs = choose_pairs(table, set().union(*removed.values())) if table is not None else ()
    shown, damaged = _show_rows(dataset, receipts, rows, removed)
    if look:
        stage = _plan_count(dataset, columns, receipts, removed, pairs, shown)
        seen = _see(stage, sorted(receipts[IMAGES]), look)
    else:
        seen = _Seen({0: [Captioned(row.key, row.caption, 0) for row in shown]})
    description = dataset.description
    title, source = describe_source(description.source)
    there = sum(r.samples for r in receipts[IMAGES].values()) - sum(map(len, removed.values()))
    return DatasetFacts(
        root=dataset.store.root,
        title=title,
        source=source,
        geometry=describe_geometry(description.geometry),
        planned=description.samples,
        shards=len(dataset.shards),
        digest=digest_json({status.column: status.digest for status in statuses}),
        columns=tuple(ColumnFacts(status, *describe_maker(dataset, status.column)) for status in statuses),
        rows=tuple(shown),
        problems=tuple(dict.fromkeys((*problems, *damaged, *seen.problems))),
        captions=choose_captions(seen.captions, [row.key for row in shown], there),
        unplanned=tuple(sorted(read_left_out(dataset.store).items(), key=lambda item: (-item[1], item[0]))),
        tally=seen.tally,
        hosts=seen.hosts,
        duplicates=None if table is None else describe_duplicates(table, pairs, seen.thumbnails),
        left_out=count_left_out(dataset, receipts, removed, read_duplicates(dataset, receipts[IMAGES]) or {}),
    )


def _plan_count(
    dataset: Dataset,
    columns: Sequence[str],
    receipts: Receipts,
    removed: Removed,
    pairs: Sequence[Pair],
    shown: Sequence[Row],
) -> Count:
    """The stage that looks at every sample, and brings back what a page with these pairs and rows needs."""
    return Count(
        dataset,
        columns,
        removed,
        pictures=frozenset(key for pair in pairs for key in (pair.key, pair.of)),
        shown=frozenset(row.key for row in shown),
        limit=choose_limit(sum(receipt.samples for receipt in receipts[IMAGES].values())),
    )


def _see(stage: Count, shards: Sequence[int], look: Look) -> _Seen:
    """Look at every sample of these shards."""
    outcome = look(stage, shards)
    made = cast(Mapping[int, Counted], dict(sorted(outcome.made.items())))
    problems = [line for counted in made.values() for line in counted.problems] + outcome.problems
    hosts: Hosts = ()
    try:
        hosts = tuple((host, reasons) for host, reasons in measure_yield(stage.dataset).worst_hosts if host)
    except (DamagedShard, KeyError, pa.ArrowException) as error:
        problems.append(
            str(error) if isinstance(error, DamagedShard) else f"rows.parquet: {describe_error(error)}"
        )
    return _Seen(
        tally=add_tallies((counted.tally for counted in made.values()), stage.columns),
        captions={shard: counted.captions for shard, counted in made.items()},
        thumbnails={key: seen for counted in made.values() for key, seen in counted.thumbnails.items()},
        hosts=hosts,
        problems=tuple(problems),
    )


def _show_rows(dataset: Dataset, receipts: Receipts, rows: int, removed: Removed) -> tuple[list[Row], list[str]]:
    """The samples of the sheet, and what of their shards is damaged."""
    shown, problems = list[Row](), list[str]()
    for shard, indices in choose_samples(receipts, rows).items():
        of = {column: found.get(shard) for column, found in receipts.items()}
        found, damaged = _open_rows(dataset, of, indices)
        shown += [row for row in found if row.key not in removed.get(shard, ())]
        problems += damaged
    return shown, problems


def _open_rows(
    dataset: Dataset, receipts: Mapping[str, Receipt | None], indices: Sequence[int]
) -> tuple[list[Row], tuple[str, ...]]:
    """The samples at `indices` of one images shard with the maps of every column, and what is damaged."""
    made = {column: receipt for column, receipt in receipts.items() if receipt}
    aligned = open_aligned(dataset.store, made)
    if not aligned.samples:
        return [], aligned.problems
    maps = {
        column: {sample.key: sample.members for sample in aligned.samples[column]}
        if column in aligned.samples
        else "damaged"
        for column in made
        if column != IMAGES
    }
    missing = {c: r.dropped if r else {} for c, r in receipts.items() if c != IMAGES}
    pictures = aligned.samples[IMAGES]
    return draw_rows([pictures[i] for i in indices], maps, missing), aligned.problems
