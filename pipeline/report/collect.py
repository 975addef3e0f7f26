"""What a report shows of a dataset: numbers from receipts and from every sample, and pictures of a few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from t2i_shards.pipeline.dataset.aligned import open_aligned
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import group_duplicates, load_duplicates
from t2i_shards.pipeline.dataset.exclusion import Exclusion
from t2i_shards.pipeline.dataset.left_out import read_left_out
from t2i_shards.pipeline.dataset.losses import read_losses
from t2i_shards.pipeline.dataset.provenance import (
    choose_published,
    describe_geometry,
    read_provenance,
    sort_columns,
)
from t2i_shards.pipeline.dataset.status import column_status
from t2i_shards.pipeline.dataset.tombstones import read_tombstones
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.engine.run import Progress
from t2i_shards.pipeline.report.contents import Contents
from t2i_shards.pipeline.report.facts import ColumnFacts, DatasetFacts, Hosts
from t2i_shards.pipeline.report.gather import Gathered
from t2i_shards.pipeline.report.sample_index import Entry, shorten_location
from t2i_shards.pipeline.report.sample_stats import CountSamples, Tally, add_tallies
from t2i_shards.pipeline.report.samples import (
    Pair,
    SheetRow,
    Thumbnail,
    choose_pairs,
    choose_samples,
    describe_duplicates,
    draw_aligned,
)
from t2i_shards.pipeline.report.search_index import (
    MOST_BESIDE_STRIPS,
    MOST_LOST,
    SIDE_FILE,
    SearchIndex,
    choose_entries,
    choose_limit,
)
from t2i_shards.pipeline.report.strips import Beside
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.stages.count_losses import measure_yield
from t2i_shards.pipeline.stages.stage import Stage

Receipts = Mapping[str, Mapping[int, Receipt]]
"""column -> shard -> receipt."""


TITLES = {
    "scenes": "Scenes",
    "folder": "Folder of pictures",
    "tars": "WebDataset shards",
    "table": "Table of pictures",
    "coco": "COCO",
    "laion": "LAION-Aesthetics",
}
"""Of the kinds that dataset.json has."""


class Look(Protocol):
    """Does a stage for these shards; on how many workers is the caller's."""

    def __call__(self, stage: Stage, shards: Sequence[int], take: Progress | None = None) -> RunResult:
        """take: is given what came of each shard, of which the result then keeps no more than errors."""


Removed = Mapping[int, set[str]]
"""shard -> keys."""


def describe_source(source: Mapping[str, Any]) -> tuple[str, str]:
    """(title, the rest)"""
    rest = ", ".join(f"{name} {_shorten(value)}" for name, value in source.items() if name != "kind")
    kind = str(source.get("kind", "dataset"))
    return TITLES.get(kind, kind.capitalize()), rest


def _shorten(value: Any) -> Any:
    return shorten_location(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class _Seen:
    """What a look at every sample gave."""

    index: SearchIndex
    tally: Tally | None = None
    licences: Counter[str] = field(default_factory=Counter)
    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)
    hosts: Hosts = ()
    problems: tuple[str, ...] = ()


def collect_dataset(root: str, rows: int, look: Look | None = None, beside: Beside | None = None) -> DatasetFacts:
    """The facts of the dataset at `root`, with `rows` samples spread evenly over it.

    Every sample is looked at, shard by shard, and counted. Without `look` all numbers come from receipts, and at
    most `rows` shards of a column are opened. What is shown or counted was verified before; removed samples are
    neither. beside: gets a strip of every sample, and side files where the samples are too many for the page.
    Raises RequestError when there is no dataset.
    """
    dataset = Dataset.open(root)
    found = sort_columns(read_provenance(dataset, column) for column in dataset.columns())
    columns = [of.column for of in found]
    problems: list[str] = []
    receipts = {column: dataset.receipts(column, damaged=problems) for column in columns}
    statuses = [column_status(dataset, c, receipts[IMAGES], receipts[c]) for c in columns]
    removed = read_tombstones(dataset)
    exclusion = Exclusion(choose_published(found), removed)
    table = load_duplicates(dataset, receipts[IMAGES])
    pairs = choose_pairs(table, set().union(*removed.values())) if table is not None else ()
    duplicates = {} if table is None else group_duplicates(table)
    shown, damaged = _show_rows(dataset, receipts, rows, removed)
    there = count_samples(receipts) - sum(map(len, removed.values()))
    if look:
        stage = _plan_count(dataset, columns, exclusion, pairs, shown, count_samples(receipts), bool(beside))
        seen = _see(stage, receipts[IMAGES], look, there, beside)
    else:
        seen = _see_shown(shown, there)
    description = dataset.description
    title, source = describe_source(description.source)
    return DatasetFacts(
        root=dataset.store.root,
        title=title,
        source=source,
        geometry=describe_geometry(description.geometry),
        planned=dataset.planned,
        shards=len(dataset.shards),
        digest=digest_json({status.column: status.digest for status in statuses}),
        columns=tuple(map(ColumnFacts, statuses, found)),
        rows=tuple(shown),
        problems=tuple(dict.fromkeys((*problems, *damaged, *seen.problems))),
        index=seen.index,
        unplanned=tuple(sorted(read_left_out(dataset.store).items(), key=lambda item: (-item[1], item[0]))),
        tally=seen.tally,
        hosts=seen.hosts,
        duplicates=None if table is None else describe_duplicates(table, pairs, seen.thumbnails),
        left_out=tuple(replace(exclusion, duplicates=duplicates).count(receipts).items()),
        licences=tuple(sorted(seen.licences.items())),
    )


def _plan_count(
    dataset: Dataset,
    columns: Sequence[str],
    exclusion: Exclusion,
    pairs: Sequence[Pair],
    shown: Sequence[SheetRow],
    samples: int,
    strips: bool,
) -> CountSamples:
    """The stage that looks at every sample, and brings back what a page with these pairs and rows needs."""
    return CountSamples(
        dataset,
        columns,
        exclusion,
        pictures=frozenset(key for pair in pairs for key in (pair.key, pair.of)),
        shown=frozenset(row.key for row in shown),
        limit=2**64 if strips else choose_limit(samples),
        strips=strips,
        side_file=SIDE_FILE if strips and samples > MOST_BESIDE_STRIPS else 0,
    )


def count_samples(receipts: Receipts) -> int:
    """Of images, removed ones among them."""
    return sum(receipt.samples for receipt in receipts[IMAGES].values())


def _see(stage: CountSamples, images: ReceiptTable, look: Look, there: int, beside: Beside | None) -> _Seen:
    """Look at every sample. images: the receipts. there: samples that were not removed."""
    gathered = Gathered(beside)
    result = look(stage, list(images), gathered.take)
    problems = [line for shard in sorted(gathered.problems) for line in gathered.problems[shard]] + result.problems
    found = measure_yield(stage.dataset, images, look, hosts=True)
    problems += found.problems
    entries = () if stage.side_file else choose_entries(gathered.entries, stage.shown)
    return _Seen(
        SearchIndex(
            there,
            entries,
            (gathered.contents if stage.side_file else Contents.of(entries)).sort(stage.columns),
            gathered.chunks_in_order,
            lost=() if found.problems else tuple(islice(read_losses(stage.dataset, images), MOST_LOST)),
            lost_of=0 if found.problems else found.reasons.total(),
            strips=beside.name if beside else "",
        ),
        tally=add_tallies([gathered.tally], stage.columns),
        licences=gathered.licences,
        thumbnails=gathered.thumbnails,
        hosts=tuple((host, reasons) for host, reasons in found.worst_hosts if host),
        problems=tuple(problems),
    )


def _see_shown(shown: Sequence[SheetRow], there: int) -> _Seen:
    """What is known without a look: the samples of the sheet."""
    entries = tuple(Entry(row.key, row.caption, 0, name=row.name, size=(row.width, row.height)) for row in shown)
    return _Seen(SearchIndex(there, entries, Contents.of(entries)))


def _show_rows(
    dataset: Dataset, receipts: Receipts, rows: int, removed: Removed
) -> tuple[list[SheetRow], list[str]]:
    """The samples of the sheet, and what of their shards is damaged."""
    shown, problems = list[SheetRow](), list[str]()
    for shard, indices in choose_samples(receipts, rows).items():
        found, damaged = _open_rows(dataset, receipts.keys(), shard, indices)
        shown += [row for row in found if row.key not in removed.get(shard, ())]
        problems += damaged
    return shown, problems


def _open_rows(
    dataset: Dataset, columns: Collection[str], shard: int, indices: Sequence[int]
) -> tuple[list[SheetRow], tuple[str, ...]]:
    """The samples at `indices` of one images shard with the maps of every column, and what is damaged."""
    aligned = open_aligned(dataset.store, shard, columns, load_verified)
    problems = tuple(map(str, aligned.problems.values()))
    pictures = aligned.samples.get(IMAGES)
    if pictures is None:
        return [], problems
    return list(draw_aligned(aligned, columns, [pictures[i] for i in indices])), problems
