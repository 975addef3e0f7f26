"""Whoever continues a large dataset reads only the plan of the shard at hand, and finds one that was altered."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from t2i_shards.pipeline.dataset import plan, plan_digests
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.plan_digests import PlanReader, check_segment
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digests of seven shards are kept, in three files."""
    for module in (plan, plan_digests):
        monkeypatch.setattr(module, "LISTED", 5)
        monkeypatch.setattr(module, "THOUSAND", 3)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return plan_dataset(str(tmp_path / "root"), ScenesSource(14), Geometry(64), 2)


def check(dataset: Dataset) -> tuple[list[str], set[str]]:
    """(the problems of the plan, the files that were read)"""
    with mock.patch.object(FolderStore, "load", autospec=True, side_effect=FolderStore.load) as load:
        problems = check_segment(dataset.store, dataset.segments[0])
    return problems, {call.args[1] for call in load.mock_calls}


DIGESTS = {f"plan/digests-00000{first}.json" for first in (0, 3, 6)}


def test_no_plan_is_read_to_check_them_and_each_when_it_is_used(dataset: Dataset) -> None:
    assert check(dataset) == ([], DIGESTS)
    reader = PlanReader(dataset.store, dataset.segments)
    with mock.patch.object(FolderStore, "load", autospec=True, side_effect=FolderStore.load) as load:
        assert [row.key for shard in dataset.shards for row in reader.read(shard)] == [
            f"{i:09d}" for i in range(14)
        ]
    assert len(load.mock_calls) == 7 + 3


@pytest.mark.parametrize("harm", ["other", "gone"])
def test_a_plan_that_is_not_the_one_ends_the_run_with_its_name(
    dataset: Dataset, tmp_path: Path, harm: str
) -> None:
    path = tmp_path / "root/plan/000004.parquet"
    path.unlink()
    if harm == "other":
        path.write_bytes((tmp_path / "root/plan/000003.parquet").read_bytes())
    stage = Ingest(dataset, ScenesSource(14), {})
    stage.setup()
    what = "its digest is not the one that was written down" if harm == "other" else "missing"
    with pytest.raises(
        RequestError,
        match=f"plan/000004.parquet: {what}; restore it from a copy, or make the dataset again in another --out",
    ):
        stage(4)
    assert stage(3).receipts["images"].samples == 2


@pytest.mark.parametrize("harm", ["gone", "cut", "altered"])
def test_digests_that_are_damaged_are_made_again_of_the_plan(dataset: Dataset, tmp_path: Path, harm: str) -> None:
    path = tmp_path / "root/plan/digests-000003.json"
    text = path.read_text()
    path.unlink()
    if harm != "gone":
        path.write_text(text[:-9] if harm == "cut" else text.replace("a", "b"))
    problems, read = check(dataset)
    assert problems == []
    assert {f"plan/00000{shard}.parquet" for shard in dataset.shards} <= read
    assert path.read_text() == text
    assert check(dataset) == ([], DIGESTS)


def test_no_digests_are_made_of_a_plan_that_is_not_the_one(dataset: Dataset, tmp_path: Path) -> None:
    for path in (tmp_path / "root/plan").glob("digests-*"):
        path.unlink()
    (tmp_path / "root/plan/000004.parquet").write_bytes((tmp_path / "root/plan/000003.parquet").read_bytes())
    assert check(dataset)[0] == ["plan: its digest is not the one in dataset.json"]
    assert not list((tmp_path / "root/plan").glob("digests-*"))


def test_small_datasets_and_those_of_earlier_versions_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = plan_dataset(str(tmp_path / "small"), ScenesSource(4), Geometry(64), 1)
    assert dataset.store.names("plan") == [f"00000{shard}.parquet" for shard in range(4)]
    problems, read = check(dataset)
    assert (problems, len(read)) == ([], 4)
    assert len(PlanReader(dataset.store, dataset.segments).read(3)) == 1
