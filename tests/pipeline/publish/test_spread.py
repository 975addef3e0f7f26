"""The layout `columns` of more shards than the Hub takes files in a folder: the folders are divided."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.publish import Publication, Published, publish
from t2i_shards.pipeline.publish.check import check_lists, plan_check
from t2i_shards.pipeline.publish.hub import refuse_beyond_limits, send
from t2i_shards.pipeline.publish.repository import Repository
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.stages.verify import verify_columns
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import problems
from tests.pipeline.publish.hub_server import Hub
from tests.pipeline.publish.toys import contents, here, toy_dataset

MOST = 12
"""Files in a folder, in these tests; a shard of images has four."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("spread") / "root", 12, 2)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2i_shards.pipeline.publish.hub.MOST_ENTRIES", MOST)
    monkeypatch.setattr("t2i_shards.pipeline.publish.plan.MOST_TOGETHER", MOST // 4)
    monkeypatch.setattr("t2i_shards.pipeline.publish.plan.SPREAD", 2)


def publish_columns(dataset: Dataset, to: str | Path) -> Published:
    asked = Publication(layout="columns")
    return publish(dataset, open_store(to), asked, {}, here, limit=refuse_beyond_limits)


@pytest.mark.soak
def test_a_copy_of_many_shards_is_taken_by_the_hub(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    to = tmp_path / "to"
    assert publish_columns(dataset, to).made == 6
    files = contents(to)
    assert max(Counter(name.rpartition("/")[0] for name in files).values()) <= MOST
    assert {"images/002/000005.tar", "images/002/000005.rows.parquet", "plan/000/000001.parquet"} <= files.keys()
    sums = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {name: sha256(data).hexdigest() for name, data in files.items() if name != "SHA256SUMS"}
    send(to, Repository("user/name"))
    assert {name for name in hub.files if name != ".gitattributes"} == files.keys()

    assert problems(to) == []
    assert verify_columns(Dataset.open(str(to))) == []
    assert check_lists(open_store(to)) == []
    stage = plan_check(open_store(to))
    assert not [line for group in range(len(stage.groups)) for line in stage(group).errors]
    ours, theirs = (
        [s.key for s in open_stream(str(root), ("sketch",)).samples(0)] for root in (dataset.store.root, to)
    )
    assert ours == theirs
    assert json.loads(files["wids-sketch.json"])["shardlist"][5]["url"] == "sketch/002/000005.tar"


def test_it_continues_where_it_ended(dataset: Dataset, tmp_path: Path) -> None:
    to = tmp_path / "to"
    publish_columns(dataset, to)
    before = contents(to)
    for name in ("SHA256SUMS", "sketch/001/000003.json", "sketch/001/000003.tar", "dataset.json"):
        (to / name).unlink()
    assert publish_columns(dataset, to).made == 1
    assert contents(to) == before
    assert publish_columns(dataset, to).made == 0
    (to / "color/002/000004.tar").write_bytes(b"cut")
    assert publish_columns(dataset, to).made == 1
    assert contents(to) == before


def test_datasets_reads_it_by_the_card(dataset: Dataset, tmp_path: Path) -> None:
    import datasets

    publish_columns(dataset, tmp_path / "to")
    found = datasets.load_dataset(
        str(tmp_path / "to"), "sketch", split="train", streaming=True, cache_dir=str(tmp_path / "cache")
    )
    assert [sample["__key__"] for sample in found] == [f"k{i:05d}" for i in range(12)]


def test_one_that_was_begun_with_undivided_folders_stays_so(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("t2i_shards.pipeline.publish.plan.MOST_TOGETHER", 100)
        with pytest.raises(RequestError, match=r"at most 12 files, and images would hold 24"):
            publish_columns(dataset, tmp_path / "to")
        assert not (tmp_path / "to/publish.json").exists()
        patch.setattr("t2i_shards.pipeline.publish.hub.MOST_ENTRIES", 100)
        publish_columns(dataset, tmp_path / "to")
    before = contents(tmp_path / "to")
    assert "images/000005.tar" in before
    monkeypatch.setattr("t2i_shards.pipeline.publish.hub.MOST_ENTRIES", 100)
    assert publish_columns(dataset, tmp_path / "to").made == 0
    assert contents(tmp_path / "to") == before
