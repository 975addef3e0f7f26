"""The index of names leads to the shards that hold a row, and what it does not know is read as before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.dataset import find as find_module
from t2i_shards.pipeline.dataset import name_index
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.find import Query, find
from t2i_shards.pipeline.dataset.name_index import (
    find_shards,
    list_indices,
    list_locations,
    list_paths,
    list_pieces,
    list_urls,
)
from t2i_shards.pipeline.dataset.outcomes import read_outcomes
from t2i_shards.pipeline.dataset.plan import plan_path, write_segment
from t2i_shards.pipeline.dataset.tombstones import By, find_asked
from t2i_shards.pipeline.shards.commit import receipt_path
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.index_names import plan_index, verify_index
from tests.faults.toys import fill, make_images
from tests.pipeline.web import put_picture


def test_a_file_is_named_as_planned_in_full_and_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = {"kind": "folder", "folder": str(tmp_path / "pictures")}
    names = list_paths(Row("k", "a/b.jpg"), source)
    assert names == ("a/b.jpg", str(tmp_path / "pictures/a/b.jpg"), "pictures/a/b.jpg")


def test_an_object_has_no_path_from_here() -> None:
    source = {"kind": "folder", "folder": "s3://bucket/pictures/"}
    assert list_paths(Row("k", "a.jpg"), source) == ("a.jpg", "s3://bucket/pictures/a.jpg")
    assert list_paths(Row("k", "000000000009.jpg"), {"kind": "coco"}) == ("000000000009.jpg",)


def test_addresses_are_the_location_and_those_that_the_source_names() -> None:
    row = Row("k", "9.jpg", extra={"coco_url": "http://c.example/9.jpg", "flickr_url": None})
    assert [url for url in list_urls(row) if url] == ["9.jpg", "http://c.example/9.jpg"]


@pytest.mark.parametrize("folder", ["pictures", "./pictures/", "s3://bucket/pictures/"])
def test_every_path_leads_to_its_location(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = {"folder": folder}
    paths = list_paths(Row("k", "a/b.jpg"), source)
    assert len(set(paths)) >= 2
    assert all("a/b.jpg" in list_locations(path, source) for path in paths)
    assert list_locations("a/b.jpg", {"kind": "coco"}) == ("a/b.jpg",)


SHARDS = 7


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven shards are three pieces, each in a few files."""
    monkeypatch.setattr(name_index, "LEAST", 3)
    monkeypatch.setattr("t2i_shards.pipeline.stages.index_names.LEAST", 3)
    monkeypatch.setattr(name_index, "THOUSAND", 3)
    monkeypatch.setattr(name_index, "PART", 4)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two pictures in each shard, indexed."""
    for number in range(2 * SHARDS):
        put_picture(tmp_path / "pictures", f"p{number:02d}", number)
    dataset = make_images(tmp_path / "root", FolderSource(str(tmp_path / "pictures"), captions="none"), 2)
    make_index(dataset)
    return dataset


def make_index(dataset: Dataset) -> int:
    """How many pieces were indexed."""
    stage = plan_index(dataset, dataset.receipts(IMAGES))
    for number in range(len(stage.pieces)):
        stage(number)
    return len(stage.pieces)


def watch_plans() -> Any:
    """A context manager; the calls of what it gives are (dataset, shard)."""
    return mock.patch.object(Dataset, "plan", autospec=True, side_effect=Dataset.plan)


def names_of(dataset: Dataset, number: int) -> Iterator[tuple[By, str]]:
    """All that may name picture `number`."""
    [(_, table)] = read_outcomes(dataset, ("key", "sha256"), [number // 2])
    row = table.to_pylist()[number % 2]
    whole = f"{dataset.description.source['folder']}/p{number:02d}.png"
    yield "keys", row["key"]
    yield "sha256", row["sha256"].upper()
    yield "paths", f"p{number:02d}.png"
    yield "paths", whole
    yield "paths", f"{os.path.relpath(whole)}"
    yield "urls", f"p{number:02d}.png"


def test_every_name_leads_to_its_shard_and_no_other_plan_is_read(dataset: Dataset) -> None:
    assert make_index(dataset) == 0, "all were made"
    pieces = list(list_pieces(dataset, dataset.receipts(IMAGES)))
    assert [piece.shards for piece in pieces] == [range(3), range(3, 6), range(6, 7)]
    assert all(index.parts > 1 and index.whole for index in list_indices(dataset.store).values())
    for number in (0, 5, 6, 13):
        for by, name in names_of(dataset, number):
            with watch_plans() as plan:
                found, unknown = find_asked(dataset, by, [name, "nothing"])
            assert list(found.values()) == [number // 2], (by, name)
            assert [key[-2:] for key in found] == [f"{number:02d}"]
            assert unknown == ("nothing",)
            assert {call.args[1] for call in plan.mock_calls} <= {number // 2}


@pytest.mark.parametrize(
    "query",
    [
        Query(key=("000000005",)),
        Query(path=("p05.png",)),
        Query(url=("p05.png",)),
        Query(path=("p05.png", "p06.*")),
        Query(sha256=("0" * 64,)),
    ],
)
def test_find_gives_the_same_with_and_without(dataset: Dataset, query: Query) -> None:
    with watch_plans() as plan:
        found = find(dataset, query)
    whole = any("*" in path for path in query.path)
    assert len({call.args[1] for call in plan.mock_calls}) == (SHARDS if whole else 1 - bool(query.sha256))
    with mock.patch.object(find_module, "find_shards", return_value=dataset.shards):
        assert find(dataset, query) == found


def all_found(dataset: Dataset) -> list[int]:
    found, _ = find_asked(dataset, "paths", [f"p{number:02d}.png" for number in range(2 * SHARDS)])
    return sorted(found.values())


def drop_a_name(path: Path) -> None:
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.slice(1), path)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-20])


@pytest.mark.parametrize("harm", [os.unlink, cut, drop_a_name, "swap"])
def test_without_a_whole_index_the_plans_are_read(
    dataset: Dataset, tmp_path: Path, harm: Callable[[Path], None] | str, caplog: pytest.LogCaptureFixture
) -> None:
    files = sorted((tmp_path / "root/images/rollups").glob("names-1-000000-000002.*"))
    if callable(harm):
        harm(files[1])
    else:
        files[0].rename(tmp_path / "aside")
        files[1].rename(files[0])
        (tmp_path / "aside").rename(files[1])
    assert all_found(dataset) == sorted([*range(SHARDS)] * 2)
    damaged = {os.unlink: 0, "swap": 2}.get(harm, 1)
    assert ("an index is ignored" in caplog.text) == bool(damaged)
    assert len(verify_index(dataset)) == damaged


def test_no_index_at_all(dataset: Dataset, tmp_path: Path) -> None:
    rmtree(tmp_path / "root/images/rollups")
    assert find_shards(dataset, ["p00.png"]) == list(range(SHARDS))
    assert all_found(dataset) == sorted([*range(SHARDS)] * 2)


def test_a_shard_that_is_not_done_is_read(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "root" / receipt_path(IMAGES, 4)).unlink()
    assert find_shards(dataset, ["p00.png"]) == [0, 3, 4, 5]
    assert all_found(dataset) == sorted([*range(SHARDS)] * 2)


def test_an_index_of_an_earlier_state_is_not_believed_and_replaced(dataset: Dataset, tmp_path: Path) -> None:
    before = set(list_indices(dataset.store))
    path = tmp_path / "root" / receipt_path(IMAGES, 4)
    receipt = dataset.receipts(IMAGES)[4]
    path.unlink()
    path.write_bytes(replace(receipt, sha256="1" * 64).encode())
    assert find_shards(dataset, ["p00.png"]) == [0, 3, 4, 5]
    assert make_index(dataset) == 1
    after = set(list_indices(dataset.store))
    assert {piece.shards for piece in before} == {piece.shards for piece in after}
    assert len(before - after) == len(after - before) == 1
    assert find_shards(dataset, ["p00.png"]) == [0]


def test_rows_that_were_tried_again_are_found_in_both_shards(dataset: Dataset) -> None:
    row = dataset.plan(1)[0]
    segment = write_segment(dataset.store, [row], 2, SHARDS)
    dataset.supplement(segment)
    assert find_shards(dataset, [row.key]) == [1, SHARDS]
    fill(dataset, FolderSource(str(dataset.description.source["folder"]), captions="none"))
    assert make_index(dataset) == 1, "the other pieces stay"
    assert find_shards(dataset, [row.key]) == [1, SHARDS]
    assert find_shards(dataset, ["000000000"]) == [0]


def test_a_damaged_plan_is_named_and_gets_no_index(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    for path in Path(dataset.store.root, "images/rollups").glob("names-1-000003-*"):
        path.unlink()
    Path(dataset.store.root, plan_path(4)).unlink()
    assert make_index(dataset) == 1
    assert "no index is made of shards 3 to 5: plan/000004.parquet: missing" in caplog.text
    assert find_shards(dataset, ["p00.png"]) == [0, 3, 4, 5]
