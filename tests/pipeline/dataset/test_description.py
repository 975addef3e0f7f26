"""What a dataset says of itself: of earlier versions too, and refused in one line where it is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.description import Description, read_description
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.receipt import to_json
from t2i_shards.pipeline.shards.store import Store
from tests.pipeline.dataset.test_dataset import create, folder

__all__ = ["folder"]

WRITTEN = Description({"kind": "scenes"}, {"size": 64}, 3, 2, 6, "0" * 64, crawl=False)


@pytest.mark.parametrize(
    ("kind", "crawl"), [("scenes", False), ("folder", False), ("coco", False), ("laion", True), ("other", True)]
)
def test_whether_a_dataset_of_an_earlier_version_is_a_crawl_follows_from_its_source(
    kind: str, crawl: bool, folder: Store
) -> None:
    create(folder, source={"kind": kind}, crawl=not crawl)
    record = json.loads(bytes(folder.load("dataset.json")))
    assert record.pop("crawl") is not crawl
    folder.discard("dataset.json")
    earlier = to_json(record)
    folder.create_bytes("dataset.json", earlier)
    description = Dataset(folder).description
    assert description.is_crawl is crawl
    assert description.encode() == earlier


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "must have format 1, has 2"),
        ({"source": {}}, "must name the kind of its source"),
        ({"shards": -1}, "shards"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_is_no_description_is_refused_by_name(changes: dict[str, Any], said: str, folder: Store) -> None:
    folder.create_bytes("dataset.json", to_json({**json.loads(WRITTEN.encode()), **changes}))
    with pytest.raises(RequestError, match=f"dataset.json: .*{said}"):
        read_description(folder)


def test_it_is_read_as_it_was_written(folder: Store) -> None:
    with pytest.raises(RequestError, match="not there; this is not a dataset"):
        read_description(folder)
    folder.create_bytes("dataset.json", WRITTEN.encode())
    assert read_description(folder) == WRITTEN
