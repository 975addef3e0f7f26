"""Erasing: the bytes are gone in every column, and all else is as after a removal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.erased_plan import is_erased
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.dataset.undo import undo_newest
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.stages.erase import Erase, begin_erasing, count_later, plan_erase, record_erasure
from t2i_shards.pipeline.stages.roll_up import plan_roll_up, verify_roll_ups
from t2i_shards.pipeline.stages.verify import verify_plan
from t2i_shards.pipeline.stream import Extent, open_stream
from tests.faults.toys import digests, extract_here, problems
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset

COLUMNS = ("images", "sketch", "color")
GONE = ("k00004", "k00005", "k00020")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures in three shards, with a sketch and colours."""
    root = tmp_path_factory.mktemp("erase") / "root"
    toy_dataset(root)
    return root


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Dataset:
    return Dataset.open(str(shutil.copytree(whole, tmp_path / "root")))


def erase(dataset: Dataset) -> Erase:
    stage = plan_erase(dataset)
    begin_erasing(stage)
    made = {shard: stage(shard) for shard in sorted(stage.rows)}
    roll_up = plan_roll_up(dataset, stage.columns, dict.fromkeys(stage.columns, made))
    for number in range(len(roll_up.ranges)):
        roll_up(number)
    record_erasure(stage)
    return stage


def keys(dataset: Dataset, **options: Any) -> list[str]:
    return [sample.key for sample in open_stream(dataset.store.root, ("sketch",), **options).samples(0)]


def members(dataset: Dataset) -> dict[tuple[str, str], dict[str, bytes]]:
    return {
        (column, sample.key): {name: bytes(data) for name, data in sample.members.items()}
        for column in dataset.columns()
        for shard in dataset.shards
        for sample in dataset.load(column, shard)
    }


def test_the_bytes_are_gone_and_no_others_change(dataset: Dataset) -> None:
    before, files, told = members(dataset), contents(dataset.store.root), digests(dataset.store.root)
    remove(dataset, "keys", GONE)
    erase(dataset)
    after = contents(dataset.store.root)
    kept = {of: held for of, held in before.items() if of[1] not in GONE}
    assert {of: held for of, held in members(dataset).items() if of[1] not in GONE} == kept
    tars = b"".join(data for name, data in after.items() if name.endswith(".tar"))
    for column in ("images", "color"):  # the toys' sketches are blank from the start
        for key in GONE:
            assert not any(data in tars for data in before[column, key].values() if len(data) > 3), (column, key)
    assert {name for name in files if after[name] != files[name]} == {
        *(f"{column}/{shard:06d}.tar" for column in ("images", "color") for shard in (0, 1)),
        *(f"{column}/{shard:06d}.json" for column in COLUMNS for shard in (0, 1)),
        *(f"plan/{shard:06d}.parquet" for shard in (0, 1)),
    }
    rows = {row.key: row for shard in dataset.shards for row in dataset.plan(shard)}
    assert {key for key, row in rows.items() if is_erased(row.location) and not row.captions} == set(GONE)
    receipt = json.loads(after["sketch/000000.json"])
    assert receipt["first"] == json.loads(files["sketch/000000.json"])["sha256"]
    assert receipt["erased"] == ["k00004", "k00005"]
    assert problems(dataset.store.root) == []
    assert digests(dataset.store.root) == told
    record = json.loads(after["tombstones/000001.erased.json"])
    assert record["samples"] == {"000000": ["k00004", "k00005"], "000001": ["k00020"]}
    assert (record["columns"], record["rows"]) == (["images", "color", "sketch"], 3)


def test_again_changes_nothing_and_more_adds_to_it(dataset: Dataset) -> None:
    remove(dataset, "keys", GONE[:1])
    erase(dataset)
    once = contents(dataset.store.root)
    stage = erase(dataset)
    assert contents(dataset.store.root) == once
    remove(dataset, "keys", GONE[1:])
    assert count_later(stage) == 2
    erase(dataset)
    assert json.loads(contents(dataset.store.root)["images/000000.json"])["erased"] == ["k00004", "k00005"]
    first = json.loads(once["images/000000.json"])["first"]
    assert json.loads(contents(dataset.store.root)["images/000000.json"])["first"] == first
    assert problems(dataset.store.root) == []


def test_streams_are_those_of_after_the_removal(dataset: Dataset) -> None:
    """New ones, those of runs that began earlier, and one that is open while it happens."""
    live = open_stream(dataset.store.root, ("sketch",))
    remove(dataset, "keys", GONE)
    extents = (None, Extent(3, 0), Extent(3, 1))
    before = [(keys(dataset, extent=extent), _digest(dataset, extent)) for extent in extents]
    assert set(before[0][0]).isdisjoint(GONE)
    erase(dataset)
    assert [(keys(dataset, extent=extent), _digest(dataset, extent)) for extent in extents] == before
    assert [sample.key for sample in live.samples(0)] == before[1][0]


def _digest(dataset: Dataset, extent: Extent | None) -> str:
    return open_stream(dataset.store.root, ("sketch",), extent=extent).digest


def test_publications_are_those_of_after_the_removal(dataset: Dataset, tmp_path: Path) -> None:
    """New ones and purged ones, to the byte."""
    for name in ("removed", "erased"):
        publish_here(dataset, tmp_path / f"purged-{name}", splits=("train=0.7", "test=0.3"))
    remove(dataset, "keys", GONE)
    for name in ("removed", "erased"):
        if name == "erased":
            erase(dataset)
        publish_here(dataset, tmp_path / f"new-{name}")
        publish_here(dataset, tmp_path / f"purged-{name}", purge=True, splits=("train=0.7", "test=0.3"))
    for kind in ("new", "purged"):
        assert contents(tmp_path / f"{kind}-erased") == contents(tmp_path / f"{kind}-removed"), kind


def test_a_column_that_is_made_later_belongs_to_the_same_pictures(dataset: Dataset, toy: None) -> None:
    remove(dataset, "keys", GONE)
    erase(dataset)
    extract_here(dataset)
    assert problems(dataset.store.root) == []
    stream = open_stream(dataset.store.root, ("sketch", "toy"))
    assert {sample.key for sample in stream.samples(0)}.isdisjoint(GONE)
    erase(dataset)
    assert problems(dataset.store.root) == []


def test_it_cannot_be_undone(dataset: Dataset) -> None:
    remove(dataset, "keys", GONE)
    begin_erasing(plan_erase(dataset))
    with pytest.raises(RequestError, match="were erased, or left out of a publication"):
        undo_newest(dataset)


class Killed(BaseException):
    """As SIGKILL between two changes of the store."""


@pytest.mark.parametrize("fatal", [0, 2, 4, 6, 7, 8, 10, 14, 15])
def test_a_killed_erasure_is_finished_by_the_same_command(
    dataset: Dataset, tmp_path: Path, fatal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies before a tar, a receipt, a plan or its record; meanwhile no shard is missing or made again."""
    undisturbed = Dataset.open(str(shutil.copytree(dataset.store.root, tmp_path / "undisturbed")))
    for of in (dataset, undisturbed):
        remove(of, "keys", GONE)
    erase(undisturbed)
    _die_at(fatal, monkeypatch)
    with pytest.raises(Killed):
        erase(dataset)
    monkeypatch.undo()
    assert all(dataset.left([column]) == [] for column in COLUMNS)
    assert verify_plan(dataset) == []
    erase(dataset)
    there, wanted = contents(dataset.store.root), contents(undisturbed.store.root)
    record = "tombstones/000001.erased.json"
    assert {**there, record: b""} == {**wanted, record: b""}


def _die_at(fatal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count: Iterator[int] = iter(range(1000))
    real = FolderStore.replace

    def replace(store: FolderStore, path: str, source: Path) -> None:
        if next(count) == fatal:
            raise Killed
        real(store, path, source)

    monkeypatch.setattr(FolderStore, "replace", replace)


def test_roll_ups_and_what_is_shared_of_them_notice(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("dataset.dataset", "dataset.roll_up", "stages.roll_up"):
        monkeypatch.setattr(f"t2i_shards.pipeline.{module}.LEAST", 1)
    monkeypatch.setattr("t2i_shards.pipeline.stream.shared_receipts.FEW", 1)
    stage = plan_roll_up(dataset, COLUMNS, {})
    for number in range(len(stage.ranges)):
        stage(number)
    before = [dataset.roll_ups(column) for column in COLUMNS]
    assert all(before)
    keys(dataset)  # leaves the receipts in a file that others share
    remove(dataset, "keys", GONE)
    expected = keys(dataset)
    begin_erasing(plan_erase(dataset))
    assert not any(dataset.roll_ups(column) for column in COLUMNS), "before the first receipt changes"
    erase(dataset)
    after = [dataset.roll_ups(column) for column in COLUMNS]
    assert all(after)
    assert all(now != was for now, was in zip(after, before, strict=True))
    assert verify_roll_ups(dataset, {}) == []
    assert keys(dataset) == expected
    table = dataset.receipts("color")
    assert table[0].erased == ("k00004", "k00005")
    assert table[2].erased == ()
    assert table[0].first == table[0].identity != table[0].sha256


def test_in_a_bucket(dataset: Dataset, bucket: str) -> None:
    store = open_store(bucket)
    for name, data in contents(dataset.store.root).items():
        store.create_bytes(name, data)
    remote = Dataset.open(bucket)
    for of in (dataset, remote):
        remove(of, "keys", GONE)
        erase(of)
    assert problems(bucket) == []
    for name, data in contents(dataset.store.root).items():
        assert name.endswith("erased.json") or bytes(store.load(name)) == data, name


def test_a_damaged_shard_is_not_replaced(dataset: Dataset) -> None:
    remove(dataset, "keys", GONE[:1])
    path = Path(dataset.store.root, "sketch/000000.tar")
    path.write_bytes(damaged := bytes(reversed(path.read_bytes())))
    with pytest.raises(DamagedShard, match=r"sketch/000000\.tar"):
        erase(dataset)
    assert path.read_bytes() == damaged
