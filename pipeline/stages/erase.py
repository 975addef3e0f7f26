"""Erasing: of samples that were removed nothing but their keys and sizes is left, in every column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import FOLDER, count_tombstone_tables, read_tombstones, settle
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name, to_json
from t2i_shards.pipeline.shards.replace import find_notes, load_current, replace_shard
from t2i_shards.pipeline.stages.blank import blank_sample
from t2i_shards.pipeline.stages.stage import StageResult


@dataclass
class Erase:
    """Stage: makes a shard of every column again, with the removed samples blank; shards without any stay.

    removed: shard -> keys, by the first `tables` tables of tombstones.
    """

    dataset: Dataset
    columns: Sequence[str]
    removed: Mapping[int, AbstractSet[str]]
    tables: int
    resources: Resources = field(default_factory=Resources)

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, shard: int) -> StageResult:
        found = {column: load_receipt(self.dataset.store, column, shard) for column in self.columns}
        return StageResult({column: self._erase(receipt) for column, receipt in found.items() if receipt})

    def _erase(self, receipt: Receipt) -> Receipt:
        store = self.dataset.store
        keys = self.removed[receipt.shard] - receipt.dropped.keys()
        if keys.issubset(receipt.erased):
            store.discard_all(find_notes(store, receipt.column, receipt.shard))
            return receipt
        receipt, samples = load_current(store, receipt)
        if keys.issubset(receipt.erased):
            return receipt
        blanked = (blank_sample(sample) if sample.key in keys else sample for sample in samples)
        return replace_shard(store, receipt, blanked, keys)


def plan_erase(dataset: Dataset) -> Erase:
    """The stage for all that was removed so far."""
    tables = count_tombstone_tables(dataset.store)
    return Erase(dataset, dataset.columns(), read_tombstones(dataset, last=tables), tables)


def begin_erasing(stage: Erase) -> None:
    """Make these removals final, and remove the roll-ups of the shards concerned."""
    settle(stage.dataset.store, stage.tables)
    for column in stage.columns:
        for one in stage.dataset.roll_ups(column):
            if not stage.removed.keys().isdisjoint(one.shards):
                stage.dataset.store.discard(one.path)


def record_erasure(stage: Erase) -> str:
    """Write down what was erased, once for each number of tables. The path of the record."""
    path = f"{FOLDER}/{shard_name(stage.tables)}.erased.json"
    record = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": stage.tables,
        "columns": list(stage.columns),
        "samples": {shard_name(shard): sorted(keys) for shard, keys in stage.removed.items()},
    }
    stage.dataset.store.create_bytes(path, to_json(record))
    return path


def count_later(stage: Erase) -> int:
    """How many samples were removed since the stage was planned."""
    later = read_tombstones(stage.dataset)
    return sum(len(keys - stage.removed.get(shard, frozenset())) for shard, keys in later.items())
