"""Erasing: of removed samples nothing but keys and sizes is left in any column, and no caption in the plan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.erased_plan import erase_rows, erased_location, is_erased
from t2i_shards.pipeline.dataset.left_out import erase_left_out
from t2i_shards.pipeline.dataset.name_index import find_shards, list_indices
from t2i_shards.pipeline.dataset.plan import plan_path, verify_segment
from t2i_shards.pipeline.dataset.tombstones import (
    FOLDER,
    Tombstone,
    count_tombstone_tables,
    find_planned,
    read_removed,
    read_tombstones,
    settle,
)
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.image.stored import encode_jpeg
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name, to_json
from t2i_shards.pipeline.shards.replace import find_notes, load_current, replace_shard
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.shards.store import AT_ONCE
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from t2i_shards.pipeline.under_way import count_samples

GREY, QUALITY = 128, 50
PLAN_NAME = re.compile(r"(?:digests-)?(\d{6,})\.(?:parquet|json)")
KEPT = ("license", "license_name", "license_url")
"""Of what a source knows of a picture: what decides whether its place in a publication is counted."""


def blank_sample(sample: Sample) -> Sample:
    """A sample with the same key and members, which has nothing of the picture in it and decodes as before.

    The picture is grey and the maps show nothing, in their sizes; the caption is empty. A member that cannot be
    read, or that no condition has, is empty.
    """
    members = dict.fromkeys(sample.members, b"")
    with suppress(DamagedShard):
        info = read_info(sample)
        source = {name: info.source[name] for name in KEPT if name in info.source}
        members["json"] = replace(info, captions=("",), sha256=None, source=source).encode()
        if "jpg" in members:
            grey = np.full((info.height, info.width, 3), GREY, np.uint8)
            members["jpg"] = encode_jpeg(grey, QUALITY)
    held = {name: bytes(data) for name, data in sample.members.items()}
    for form in formats().values():
        if form.members[0] in held:
            with suppress(ValueError):
                blank = form.encode(form.blank(form.decode(held)))
                members |= {name: blank[name] for name in blank.keys() & held.keys()}
    return Sample(sample.key, members)


@dataclass
class Erase(Stage):
    """Stage: makes a shard of every column again, with the removed samples blank; shards without any stay.

    removed: shard -> keys of samples, by the first `tables` tables of tombstones.
    rows: shard that is done -> keys of its plan, whether they became samples or not.
    unmade: how many rows were removed of which a plan is left whose shard is not done.
    before: keys of those that are erased already, from the plan and from every column.
    """

    dataset: Dataset
    columns: Sequence[str]
    removed: Mapping[int, AbstractSet[str]]
    rows: Mapping[int, AbstractSet[str]]
    tables: int
    unmade: int = 0
    before: AbstractSet[str] = frozenset()

    def __call__(self, shard: int) -> StageResult:
        found = {column: load_receipt(self.dataset.store, column, shard) for column in self.columns}
        result = StageResult({column: self._erase(receipt) for column, receipt in found.items() if receipt})
        erase_rows(self.dataset.store, plan_path(shard), self.rows[shard], lambda: self._is_planned(shard))
        return result

    def _is_planned(self, shard: int) -> bool:
        segment = next(segment for segment in self.dataset.segments if shard in segment.numbers)
        return not verify_segment(self.dataset.store, segment)

    def _erase(self, receipt: Receipt) -> Receipt:
        store = self.dataset.store
        keys = self.removed.get(receipt.shard, frozenset()) - receipt.dropped.keys()
        if keys.issubset(receipt.erased):
            store.discard_all(find_notes(store, receipt.column, receipt.shard))
            return receipt
        receipt, samples = load_current(store, receipt)
        if keys.issubset(receipt.erased):
            return receipt
        blanked = (_count(blank_sample(sample) if sample.key in keys else sample, receipt) for sample in samples)
        return replace_shard(store, receipt, blanked, keys)


def _count(sample: Sample, receipt: Receipt) -> Sample:
    """The sample, counted as done when its picture is, which comes first."""
    if receipt.column == IMAGES:
        count_samples()
    return sample


def plan_erase(dataset: Dataset) -> Erase:
    """The stage for all that was removed so far."""
    tables = count_tombstone_tables(dataset.store)
    stones = read_removed(dataset.store, last=tables)
    before, done = set[str](), dataset.done(IMAGES)
    rows = _find_rows(dataset, stones, before)
    made = {shard: keys for shard, keys in rows.items() if shard in done}
    unmade = set[str]().union(*(keys for shard, keys in rows.items() if shard not in done))
    stage = Erase(
        dataset, dataset.columns(), read_tombstones(dataset, last=tables), made, tables, len(unmade), before
    )
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for left in threads.map(partial(_find_left, stage), made):
            before -= left
    return stage


def _find_left(stage: Erase, shard: int) -> set[str]:
    """The samples that are not blank in every column, as in one that was made since its plan was erased."""
    keys = stage.removed.get(shard, frozenset()) & stage.before
    left = set[str]()
    for column in stage.columns if keys else ():
        with suppress(DamagedShard):  # the stage names it
            if receipt := load_receipt(stage.dataset.store, column, shard):
                left |= keys - set(receipt.erased) - receipt.dropped.keys()
    return left


def _find_rows(dataset: Dataset, stones: Mapping[str, Tombstone], before: set[str]) -> dict[int, AbstractSet[str]]:
    """Shard -> the removed keys that its plan has; of a plan that cannot be read those that it may have.

    before: gets the keys of those that are erased from it already.
    """
    likely = find_planned(dataset, stones)

    def look(shard: int) -> AbstractSet[str]:
        try:
            plan = {row.key: row.location for row in dataset.plan(shard) if row.key in stones}
            before.update(key for key, location in plan.items() if is_erased(location))
            return set(plan)
        except DamagedShard:
            return likely.get(shard, frozenset())

    shards = find_shards(dataset, stones.keys()) if stones else []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = zip(shards, threads.map(look, shards), strict=True)
        return {shard: keys for shard, keys in found if keys}


def begin_erasing(stage: Erase) -> None:
    """Make these removals final, and remove the roll-ups and indices of names of the shards concerned.

    Plans go too that an interrupted retry left of shards which the dataset does not have: the next one makes them;
    and the locations of these rows where they are among what the plan leaves out. Raises DamagedShard.
    """
    settle(stage.dataset.store, stage.tables)
    for column in stage.columns:
        for one in stage.dataset.roll_ups(column):
            if not stage.removed.keys().isdisjoint(one.shards):
                stage.dataset.store.discard(one.path)
    for piece, index in list_indices(stage.dataset.store).items():
        if not stage.rows.keys().isdisjoint(piece.shards):
            stage.dataset.store.discard_all(list(index.paths.values()))
    stage.dataset.store.discard_all(_list_unbegun(stage.dataset))
    erase_left_out(stage.dataset.store, _hash_locations(stage))


def _hash_locations(stage: Erase) -> set[str]:
    """`erased_location` of the rows that are removed. A plan that cannot be read has none; the stage names it."""
    found = set[str]()
    for shard, keys in stage.rows.items():
        with suppress(DamagedShard):
            found.update(
                row.location if is_erased(row.location) else erased_location(row.location)
                for row in stage.dataset.plan(shard)
                if row.key in keys
            )
    return found


def _list_unbegun(dataset: Dataset) -> list[str]:
    """Files of the plan for shards that are not among those of the dataset, as it is by now.

    None where such a shard was made: then it is a supplement that is gone, and may be restored.
    """
    shards = Dataset.open(dataset.store.root).shards
    if dataset.done(IMAGES).difference(shards):
        return []
    found = map(PLAN_NAME.fullmatch, dataset.store.names("plan"))
    return [f"plan/{match[0]}" for match in found if match and int(match[1]) not in shards]


def record_erasure(stage: Erase) -> str:
    """Write down what was erased, once for each number of tables. The path of the record."""
    path = f"{FOLDER}/{shard_name(stage.tables)}.erased.json"
    record = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": stage.tables,
        "columns": list(stage.columns),
        "rows": len({key for keys in stage.rows.values() for key in keys}),
        "samples": {shard_name(shard): sorted(keys) for shard, keys in stage.removed.items()},
    }
    stage.dataset.store.create_bytes(path, to_json(record))
    return path


def count_later(stage: Erase) -> int:
    """How many samples were removed since the stage was planned."""
    later = read_tombstones(stage.dataset)
    return sum(len(keys - stage.removed.get(shard, frozenset())) for shard, keys in later.items())
