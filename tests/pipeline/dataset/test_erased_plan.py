"""Erased rows: the plan loses what it said of a picture and stays the plan that dataset.json names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.dataset import plan as plan_module
from t2i_shards.pipeline.dataset import plan_digests
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.erased_plan import ErasedPlan, erase_rows, erased_location, is_erased, read_record
from t2i_shards.pipeline.dataset.plan import plan_path
from t2i_shards.pipeline.dataset.plan_digests import PlanReader, check_segment
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stages.verify import verify_plan, verify_tables
from tests.faults.toys import Pictures

PLAN = plan_path(1)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return plan_dataset(str(tmp_path / "root"), Pictures(12), Geometry(64), 4)


def erase(dataset: Dataset, *keys: str) -> None:
    erase_rows(dataset.store, PLAN, keys, lambda: not verify_plan(dataset))


def test_of_an_erased_row_the_key_and_a_hash_of_the_location_are_left(dataset: Dataset) -> None:
    before = dataset.plan(1)
    erase(dataset, "k00005", "k00001")
    was, now = before[1], dataset.plan(1)[1]
    assert now == Row("k00005", erased_location(was.location), (), None, dict.fromkeys(was.extra))
    assert is_erased(now.location)
    assert not is_erased(was.location)
    assert [row for row in dataset.plan(1) if row.key != "k00005"] == [before[0], *before[2:]]


@pytest.mark.parametrize("column", [pa.array([None] * 4, pa.float32()), pa.array([[1], [2, 3], [], None])])
def test_the_types_of_the_sources_columns_stay(dataset: Dataset, column: pa.Array) -> None:
    path = Path(dataset.store.root, PLAN)
    table = pq.read_table(path).append_column("more", column).replace_schema_metadata({"of": "the source"})
    pq.write_table(table, path)
    erase(dataset, "k00005")
    assert pq.read_table(path).schema == table.schema
    assert pq.read_table(path).schema.metadata == table.schema.metadata
    assert pq.read_table(path)["more"].to_pylist() == [
        v if i != 1 else None for i, v in enumerate(column.to_pylist())
    ]


def test_it_is_the_plan_that_was_written_down_however_often_it_is_erased(dataset: Dataset) -> None:
    first = Path(dataset.store.root, PLAN).read_bytes()
    for key in ("k00005", "k00005", "k00007"):
        erase(dataset, key)
        assert verify_plan(dataset) == verify_tables(dataset) == []
    record = read_record(dataset.store, PLAN)
    assert record is not None
    assert len(record.since) == 2, "what is erased already changes nothing"
    assert plan_dataset(dataset.store.root, Pictures(12), Geometry(64), 4).plan(1) == dataset.plan(1)
    Path(dataset.store.root, PLAN).write_bytes(first)
    assert verify_plan(dataset) == [], "a copy of before is the same plan too"


def test_the_same_ingest_makes_dataset_json_again(dataset: Dataset) -> None:
    erase(dataset, "k00005")
    description = Path(dataset.store.root, "dataset.json")
    before = description.read_bytes()
    description.unlink()
    with pytest.raises(RequestError, match=r"000001\.parquet was planned from other rows"):
        plan_dataset(dataset.store.root, Pictures(7), Geometry(64), 4)
    again = plan_dataset(dataset.store.root, Pictures(12), Geometry(64), 4)
    assert description.read_bytes() == before
    assert [is_erased(row.location) for row in again.plan(1)] == [False, True, False, False]


@pytest.mark.parametrize("fatal", [0, 1])
def test_where_it_dies_the_plan_is_whole_and_it_can_be_erased_again(
    dataset: Dataset, fatal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    erase(dataset, "k00005")
    count: Iterator[int] = iter(range(9))
    real = FolderStore.replace_bytes

    def replace_bytes(*given: Any) -> None:
        if next(count) == fatal:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(FolderStore, "replace_bytes", replace_bytes)
    with pytest.raises(KeyboardInterrupt):
        erase(dataset, "k00006")
    monkeypatch.undo()
    assert verify_plan(dataset) == []
    assert [is_erased(row.location) for row in dataset.plan(1)] == [False, True, False, False]
    erase(dataset, "k00006")
    assert [is_erased(row.location) for row in dataset.plan(1)] == [False, True, True, False]
    assert verify_plan(dataset) == []


def test_a_plan_that_is_another_is_found_and_not_erased(dataset: Dataset) -> None:
    erase(dataset, "k00005")
    shutil.copy(Path(dataset.store.root, plan_path(2)), Path(dataset.store.root, PLAN))
    assert verify_plan(dataset) == ["plan: its digest is not the one in dataset.json"]
    with pytest.raises(DamagedShard, match=rf"^{PLAN}: its digest is none of those in plan/000001\.erased"):
        erase(dataset, "k00009")
    Path(dataset.store.root, PLAN).unlink()
    with pytest.raises(DamagedShard, match=f"^{PLAN}: missing; restore it from a copy$"):
        erase(dataset, "k00005")


def test_a_plan_that_was_erased_while_it_was_damaged_is_erased_again_once_it_is_restored(dataset: Dataset) -> None:
    path = Path(dataset.store.root, PLAN)
    planned, table = path.read_bytes(), pq.read_table(path)
    other = table.set_column(table.schema.get_field_index("captions"), "captions", pa.array([["another"]] * 4))
    pq.write_table(other.cast(table.schema), path)
    erase(dataset, "k00005")
    assert verify_plan(dataset) == ["plan: its digest is not the one in dataset.json"]
    path.write_bytes(planned)
    erase(dataset, "k00005")
    assert [is_erased(row.location) for row in dataset.plan(1)] == [False, True, False, False]
    assert verify_plan(dataset) == []


def test_a_damaged_record_is_named(dataset: Dataset) -> None:
    erase(dataset, "k00005")
    Path(dataset.store.root, "plan/000001.erased.json").write_bytes(b"{}")
    assert verify_plan(dataset) == ["plan: its digest is not the one in dataset.json"]
    assert [line.split(": ")[0] for line in verify_tables(dataset)] == ["plan/000001.erased.json"]


def test_kept_digests_stay_true(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (plan_module, plan_digests):
        monkeypatch.setattr(module, "LISTED", 2)
    large = plan_dataset(str(tmp_path / "large"), Pictures(12), Geometry(64), 4)
    erase(large, "k00005")
    assert check_segment(large.store, large.segments[0]) == []
    assert PlanReader(large.store, large.segments).read(1) == large.plan(1)
    Path(large.store.root, "plan/digests-000000.json").unlink()
    assert check_segment(large.store, large.segments[0]) == [], "they are made again"
    assert PlanReader(large.store, large.segments).read(1) == large.plan(1)
    record = read_record(large.store, PLAN)
    assert record is not None
    kept = ErasedPlan(record.first, ())
    large.store.replace_bytes("plan/000001.erased.json", plan_module.to_json(replace(kept).__dict__))
    with pytest.raises(RequestError, match="its digest is not the one that was written down"):
        PlanReader(large.store, large.segments).read(1)
