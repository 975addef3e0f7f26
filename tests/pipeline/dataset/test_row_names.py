"""What may name a row's picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.row_names import list_locations, list_paths, list_urls
from t2i_shards.pipeline.sources.row import Row


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
