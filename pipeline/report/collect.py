"""What a report shows of a dataset: numbers from its receipts, and a few samples from verified shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from extractors.formats import FORMATS
from pipeline.commit import load_receipt
from pipeline.dataset import IMAGES, Dataset, load_verified
from pipeline.errors import DamagedShard
from pipeline.receipt import Receipt, digest_json
from pipeline.report.rows import Row, choose_samples, draw_rows
from pipeline.status import ColumnStatus, column_status
from pipeline.stream import check_current, zip_columns

TITLES = {"scenes": "Scenes", "folder": "Folder of pictures"}
Receipts = Mapping[str, Mapping[int, Receipt]]
"""column -> shard -> receipt."""


@dataclass(frozen=True)
class ColumnFacts:
    """One column. made_by: extractor and parameters, or the source. licence: of the weights or the truth."""

    status: ColumnStatus
    made_by: str
    licence: str

    @property
    def rate(self) -> float | None:
        """Samples per second of one worker; None for a column that was made along with the pictures."""
        return self.status.samples / self.status.seconds if self.status.seconds else None


@dataclass(frozen=True)
class DatasetFacts:
    """One dataset. digest: of all its columns so far. problems: a line for each damaged shard or receipt."""

    root: str
    title: str
    source: str
    geometry: str
    planned: int
    shards: int
    digest: str
    columns: tuple[ColumnFacts, ...]
    rows: tuple[Row, ...]
    problems: tuple[str, ...]

    @property
    def samples(self) -> int:
        return self.columns[0].status.samples

    @property
    def drops(self) -> list[tuple[str, str, int, int]]:
        """(column, reason, count, of how many), the most frequent reason of a column first."""
        return [
            (c.status.column, reason, count, c.status.samples + sum(c.status.drops.values()))
            for c in self.columns
            for reason, count in sorted(c.status.drops.items(), key=lambda item: (-item[1], item[0]))
        ]


def collect_dataset(root: str, rows: int) -> DatasetFacts:
    """The facts of the dataset at `root`, with `rows` samples spread evenly over it.

    All numbers come from receipts; at most `rows` shards of a column are opened, each verified before any of
    it is shown. Raises RequestError when there is no dataset.
    """
    dataset = Dataset.open(root)
    columns = sort_columns(dataset.columns())
    receipts, problems = _read_receipts(dataset, columns)
    statuses = [column_status(dataset, c, receipts[IMAGES], receipts[c]) for c in columns]
    shown: list[Row] = []
    for shard, indices in choose_samples(receipts, rows).items():
        found, damaged = _open_rows(dataset, {c: receipts[c].get(shard) for c in columns}, indices)
        shown += found
        problems += damaged
    description = dataset.description
    title, source = _describe_source(description.source)
    return DatasetFacts(
        root=dataset.store.root,
        title=title,
        source=source,
        geometry=_describe_geometry(description.geometry),
        planned=description.samples,
        shards=description.shards,
        digest=digest_json({status.column: status.digest for status in statuses}),
        columns=tuple(ColumnFacts(status, *_describe_maker(dataset, status.column)) for status in statuses),
        rows=tuple(shown),
        problems=tuple(problems),
    )


def sort_columns(columns: Sequence[str]) -> list[str]:
    """images, then the conditions in the order in which this project lists them, then the rest."""
    known = [IMAGES, *FORMATS]
    return sorted(columns, key=lambda c: (known.index(c) if c in known else len(known), c))


def _read_receipts(dataset: Dataset, columns: Sequence[str]) -> tuple[Receipts, list[str]]:
    """All receipts, and a line for each that is damaged: one of them must not hide the others."""

    def read(column: str, shard: int) -> Receipt | str | None:
        try:
            return load_receipt(dataset.store, column, shard)
        except DamagedShard as error:
            return str(error)

    asked = [(column, shard) for column in columns for shard in sorted(dataset.done(column))]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda one: read(*one), asked))
    receipts: dict[str, dict[int, Receipt]] = {column: {} for column in columns}
    for (column, shard), answer in zip(asked, answers, strict=True):
        if isinstance(answer, Receipt):
            receipts[column][shard] = answer
    return receipts, [answer for answer in answers if isinstance(answer, str)]


def _open_rows(
    dataset: Dataset, receipts: Mapping[str, Receipt | None], indices: Sequence[int]
) -> tuple[list[Row], list[str]]:
    """The samples at `indices` of one images shard with the maps of every column, and what is damaged."""
    images = receipts[IMAGES]
    assert images is not None
    try:
        pictures = load_verified(dataset.store, images)
    except DamagedShard as error:
        return [], [str(error)]
    maps: dict[str, dict[str, Mapping[str, bytes | memoryview]] | str] = {}
    problems = []
    for column, receipt in receipts.items():
        if column == IMAGES or receipt is None:
            continue
        try:
            check_current(receipt, images)
            pair = {IMAGES: images, column: receipt}
            samples = load_verified(dataset.store, receipt)
            zip_columns({IMAGES: [replace(s, members={}) for s in pictures], column: samples}, pair)
            maps[column] = {sample.key: sample.members for sample in samples}
        except DamagedShard as error:
            problems.append(str(error))
            maps[column] = "damaged"
    missing = {c: r.dropped if r else {} for c, r in receipts.items() if c != IMAGES}
    return draw_rows([pictures[i] for i in indices], maps, missing), problems


def _describe_source(source: Mapping[str, Any]) -> tuple[str, str]:
    rest = ", ".join(f"{name} {value}" for name, value in source.items() if name != "kind")
    kind = str(source.get("kind", "dataset"))
    return TITLES.get(kind, kind.capitalize()), rest


def _describe_geometry(geometry: Mapping[str, Any]) -> str:
    shape = "square" if geometry.get("fit") == "square" else "short side, aspect kept"
    return f"{geometry.get('size')} px {shape}, JPEG {geometry.get('quality')}"


def _describe_maker(dataset: Dataset, column: str) -> tuple[str, str]:
    """(made by, licence) from the recipe, whoever wrote it."""
    if column == IMAGES:
        return f"ingest {dataset.description.source.get('kind')}", ""
    recipe = dataset.recipe(column) or {}
    maker = str(recipe.get("extractor", recipe.get("made_by", "unknown")))
    parts = [f"{maker} {recipe.get('version', '')}".strip()]
    if "made_by" in recipe:
        return f"{parts[0]}, ground truth", str(recipe.get("licence", ""))
    parts += [str(recipe["variant"])] if recipe.get("variant") else []
    weights = recipe.get("weights") or {}
    parts += [str(weights["file"])] if weights.get("file") else []
    return ", ".join(parts), str(weights.get("licence", ""))
