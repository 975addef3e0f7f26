"""Verify: every byte of a dataset against its receipts."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.dataset.aligned import open_aligned
from t2i_shards.pipeline.dataset.dataset import IMAGES, RESERVED, Dataset, recipe_path
from t2i_shards.pipeline.dataset.download_commit import read_seen
from t2i_shards.pipeline.dataset.erased_plan import RECORD, read_record
from t2i_shards.pipeline.dataset.extract_command import extract_command
from t2i_shards.pipeline.dataset.left_out import read_left_out, read_named, read_notes
from t2i_shards.pipeline.dataset.mark_tables import read_marks
from t2i_shards.pipeline.dataset.other_recipe import find_altered_recipe
from t2i_shards.pipeline.dataset.outcomes import read_rows, rows_path
from t2i_shards.pipeline.dataset.plan import plan_path, verify_segment
from t2i_shards.pipeline.dataset.status import list_unplanned
from t2i_shards.pipeline.dataset.tombstones import read_removed
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.replace import find_notes
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from t2i_shards.pipeline.under_way import Parts

SEEN_NAME = re.compile(r"(\d{6,})\.seen\.parquet")


@dataclass
class Verify(Stage):
    """Stage: reads a shard of every column; what is damaged or missing comes back as errors, one line each."""

    dataset: Dataset
    columns: Sequence[str]
    recipes: dict[str, str]

    def __call__(self, shard: int) -> StageResult:
        read = partial(self._read, Parts(len(self.columns)))
        found = open_aligned(self.dataset.store, shard, self.columns, read)
        missing = (f"{column}/{shard_name(shard)}: missing" for column in found.missing)
        return StageResult(found.receipts, (*missing, *map(str, found.problems.values())))

    def _read(self, parts: Parts, store: Store, receipt: Receipt) -> list[Sample]:
        """The keys of a column's shard: its members would keep all of the shard in memory."""
        where = f"{receipt.column}/{shard_name(receipt.shard)}"
        samples = load_verified(store, receipt)
        if receipt.recipe != self.recipes[receipt.column]:
            raise DamagedShard(f"{where}: its recipe is not its column's")
        check_members(parts.over(samples), where)
        if receipt.column == IMAGES:
            check_plan(self.dataset, read_rows(store, receipt), receipt.shard)
        return [Sample(sample.key, {}) for sample in samples]


def check_members(samples: Iterable[Sample], where: str) -> None:
    """Raises DamagedShard when a sample's json, or the numbers of a map, are not what they should be."""
    numeric = {form.members[0]: form for form in formats().values() if form.is_numeric}
    for sample in samples:
        try:
            if "json" in sample.members:
                read_info(sample)
            for member in sample.members.keys() & numeric:
                numeric[member].decode({member: bytes(sample.members[member])})
        except DamagedShard as error:
            raise DamagedShard(f"{where}: {error}") from None
        except ValueError as error:
            raise DamagedShard(f"{where}: {sample.key}: its {member} {error}") from None


def check_plan(dataset: Dataset, rows: pa.Table, shard: int) -> None:
    """Raises DamagedShard when the rows of a finished shard are not those that were planned."""
    if [row.key for row in dataset.plan(shard)] != rows["key"].to_pylist():
        raise DamagedShard(f"{rows_path(shard)}: its keys are not those of {plan_path(shard)}")


def plan_verify(dataset: Dataset) -> Verify:
    """The stage that verifies all columns that were begun."""
    columns = dataset.columns()
    return Verify(dataset, columns, {column: dataset.recipe_digest(column) for column in columns})


def count_older(made: Iterable[StageResult]) -> int:
    """How many images receipts were written before they named the sha256 of rows.parquet."""
    return sum(IMAGES in of.receipts and of.receipts[IMAGES].rows is None for of in made)


def verify_plan(dataset: Dataset) -> list[str]:
    """A line for each plan file that is gone, and one for each segment whose plan is not the one written down."""
    return [line for segment in dataset.segments for line in verify_segment(dataset.store, segment)]


def verify_tables(dataset: Dataset) -> list[str]:
    """A line for each of the small files next to the shards that is damaged.

    Which are: the counts of the plan, the names of what it leaves out, the records of rows erased from it,
    tombstones, duplicates, and the digests that a download saw first.
    """
    store = dataset.store
    reads: list[Callable[[], Any]] = [
        partial(read_left_out, store),
        partial(read_notes, store),
        lambda: deque(read_named(store), maxlen=0),  # there may be as many as there are files
        partial(read_removed, store),
    ]
    reads += [partial(read_marks, store, f"duplicates/{name}") for name in store.names("duplicates")]
    planned = store.names("plan")
    seen = (SEEN_NAME.fullmatch(name) for name in planned)
    reads += [partial(read_seen, store, int(match[1])) for match in seen if match]
    reads += [
        partial(read_record, store, f"plan/{name.removesuffix(RECORD)}.parquet")
        for name in planned
        if name.endswith(RECORD)
    ]
    errors = []
    for read in reads:
        try:
            read()
        except DamagedShard as error:
            errors.append(str(error))
    return errors


def verify_columns(dataset: Dataset) -> list[str]:
    """A line for each receipt or folder of receipts that belongs to no recipe or plan, and so is never read."""
    known, store = dataset.columns(), dataset.store
    strangers = [name for name in store.names("") if name not in (*known, *RESERVED)]
    lines = [f"{n}: has receipts, but {n}/column.json is gone" for n in strangers if dataset.done(n)]
    return lines + list_unplanned(dataset)


def describe_repairs(dataset: Dataset, problems: Iterable[str]) -> list[str]:
    """For each column that a problem names: how its damaged or missing shards are made again."""
    named = {line.partition("/")[0] for line in problems}
    return [_describe_repair(dataset, column) for column in dataset.columns() if column in named]


def _describe_repair(dataset: Dataset, column: str) -> str:
    if find_notes(dataset.store, column):
        return f"{column}: an erasure was interrupted; run `t2i-shards erase {dataset.store.root}` again"
    receipts, recipe = dataset.receipts(column, damaged=[]), dataset.recipe_digest(column)
    if altered := find_altered_recipe(receipts, recipe, recipe_path(column)):
        return altered
    command = None if column == IMAGES else extract_command(dataset.store.root, column, dataset.recipe(column))
    if command:
        return f"{column}: delete the .tar and .json of a damaged shard, then {command} makes it again"
    return (
        f"{column}: restore a damaged shard from a copy, as its source may have changed since; a missing one is "
        "made by the same ingest"
    )
