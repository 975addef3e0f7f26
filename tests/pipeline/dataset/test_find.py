"""Rows are found by what is known of their pictures, with what became of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.find import Query, count_states, find
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.faults.toys import fill
from tests.pipeline.web import Web, put_failure, put_picture


@pytest.fixture
def folder(tmp_path: Path) -> Dataset:
    """a/0 to a/3 with captions; a/2 is no picture."""
    pictures = tmp_path / "pictures/a"
    pictures.parent.mkdir()
    for number, caption in enumerate(("A red Cube", "a blue ball", "a red ball", "nothing")):
        put_picture(pictures, str(number), number)
        (pictures / f"{number}.txt").write_text(caption)
    (pictures / "2.png").write_bytes(b"no picture")
    source = FolderSource(str(pictures.parent))
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 2)
    fill(dataset, source)
    return dataset


def keys(dataset: Dataset, **asked: Any) -> list[str]:
    return [row.key for row in find(dataset, Query(**{name: tuple(of) for name, of in asked.items()}))]


def test_by_path_as_planned_from_here_in_full_and_by_a_pattern(
    folder: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("a/1.png", "pictures/a/1.png", "./pictures/a/1.png", str(tmp_path / "pictures/a/1.png"), "*/1.*"):
        assert keys(folder, path=[path]) == ["000000001"], path
    assert keys(folder, path=["1.png"]) == []
    assert keys(folder, path=["a/1.png", "a/3.png"]) == ["000000001", "000000003"]


def test_by_caption_key_and_digest_and_by_several_at_once(folder: Dataset) -> None:
    assert keys(folder, caption=["RED"]) == ["000000000", "000000002"]
    assert keys(folder, caption=["red", "nothing"], path=["a/3.png", "a/0.png"]) == ["000000000", "000000003"]
    [row] = find(folder, Query(key=("000000001",)))
    assert row.sha256 is not None
    assert keys(folder, sha256=[row.sha256.upper(), "0" * 64]) == ["000000001"]
    assert keys(folder, sha256=[row.sha256], caption=["red"]) == []


def test_every_state_is_told(folder: Dataset) -> None:
    remove(folder, "keys", ["000000001"])
    (Path(folder.store.root) / "images/000001.json").unlink()
    rows = find(folder, Query(path=("a/*",)))
    assert [row.state for row in rows] == ["sample", "removed", "not made yet", "not made yet"]
    assert count_states(rows) == {"sample": 1, "removed": 1, "not made yet": 2}
    fill(folder, FolderSource(folder.description.source["folder"]))
    assert [row.state for row in find(folder, Query(path=("a/2.png",)))] == ["dropped: not a picture"]


def test_a_row_that_was_tried_again_is_told_once_where_its_sample_is(tmp_path: Path) -> None:
    web = tmp_path / "web"
    put_picture(web, "a-0", 0)
    put_failure(web, "b-1", "timed out")
    source = Web(str(web), ("a-0", "b-1"))
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 2)
    fill(dataset, source)
    assert [row.state for row in find(dataset, Query(url=("*/b-1.png",)))] == ["dropped: timed out"]
    put_picture(web, "b-1", 1)
    assert plan_retry(dataset)
    fill(dataset, source)
    [row] = find(Dataset.open(dataset.store.root), Query(url=("http://b.example/b-1.png",)))
    assert (row.key, row.shard, row.state) == ("000000001", 1, "sample")


def test_captions_that_the_plan_lacks_are_read_from_the_samples(tmp_path: Path) -> None:
    source = ScenesSource(4, 64)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 2)
    fill(dataset, source)
    assert not any(row.captions for shard in dataset.shards for row in dataset.plan(shard))
    rows = find(dataset, Query(caption=(" ",)))
    assert len(rows) == 4
    one = rows[2]
    assert one.key in keys(dataset, caption=[one.captions[0].upper()])


def test_nothing_asked_for_is_refused() -> None:
    with pytest.raises(RequestError, match="at least one of --key, --path, --url, --caption and --sha256"):
        Query().check()
