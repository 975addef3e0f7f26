"""The layout `columns`: a dataset as it stands, readable as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RequestError
from pipeline.stream import open_stream
from pipeline.tombstones import remove
from tests.faults.toys import Pictures, digests, make_images, problems
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset


def test_the_columns_as_they_stand(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path / "root", 10, 4)
    published = publish_here(dataset, tmp_path / "to", layout="columns")
    assert published.counts == {"images": 10, "sketch": 10, "color": 10}
    assert digests(tmp_path / "to") == digests(tmp_path / "root")
    assert problems(tmp_path / "to") == []
    card = (tmp_path / "to/README.md").read_text()
    assert "| color | color, default |" in card
    assert "| sketch | no network | | not told |" in card
    ours, theirs = (
        [s.key for s in open_stream(str(tmp_path / n), ("sketch",)).samples(0)] for n in ("root", "to")
    )
    assert ours == theirs
    before = contents(tmp_path / "to")
    for name in ("SHA256SUMS", "sketch/000001.json", "sketch/000001.tar", "dataset.json"):
        (tmp_path / "to" / name).unlink()
    assert publish_here(dataset, tmp_path / "to", layout="columns").made == 1
    assert contents(tmp_path / "to") == before
    assert publish_here(dataset, tmp_path / "to", layout="columns").made == 0


def test_no_path_of_this_machine_is_published(tmp_path: Path) -> None:
    class Folder(Pictures):
        def describe(self) -> dict[str, Any]:
            return {"kind": "folder", "folder": str(tmp_path / "my pictures")}

    dataset = make_images(tmp_path / "root", Folder(5), 5, ("sketch",))
    publish_here(dataset, tmp_path / "to", layout="columns")
    assert not [name for name, data in contents(tmp_path / "to").items() if str(tmp_path).encode() in data]
    assert json.loads((tmp_path / "to/dataset.json").read_text())["source"]["folder"] == "my pictures"
    assert problems(tmp_path / "to") == []


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"licenses": (1,)}, "--licenses needs --layout packed"),
        ({"duplicates": False}, "--no-duplicates needs --layout packed"),
        ({"splits": ("a=0.5", "b=0.5")}, "--splits needs --layout packed"),
    ],
)
def test_what_needs_new_shards(tmp_path: Path, asked: dict[str, Any], match: str) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4)
    with pytest.raises(RequestError, match=match):
        publish_here(dataset, tmp_path / "to", layout="columns", **asked)
    assert not (tmp_path / "to/publish.json").exists()


def test_removed_samples_and_a_crawls_pictures_are_not_published(tmp_path: Path) -> None:
    class Crawl(Pictures):
        def describe(self) -> dict[str, Any]:
            return {"kind": "laion", "count": self.count}

    crawl = make_images(tmp_path / "crawl", Crawl(4), 4)
    with pytest.raises(RequestError, match="the pictures of a crawl only when asked --with-images"):
        publish_here(crawl, tmp_path / "to", layout="columns")
    remove(crawl, "keys", ["k00001"])
    with pytest.raises(RequestError, match="the removal of 1 samples needs --layout packed"):
        publish_here(crawl, tmp_path / "to", layout="columns", with_images=True)
