"""Packing: every sample once and complete, in the split that its key and duplicates decide; always the same
bytes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from t2i_shards.extractors.maps import png
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import mark_duplicates
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.publish.index import scan
from t2i_shards.pipeline.publish.survey import choose_split
from t2i_shards.pipeline.shards.commit import tar_path
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.sources.base import Original, Seen, unseen
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.stage import Stage
from tests.faults.toys import Pictures, extract_here, make_images
from tests.pipeline.publish.toys import (
    contents,
    here,
    keys_of,
    publish_here,
    published_samples,
    rewrite_images,
    toy_dataset,
    with_known,
)

SPLITS = ("train=0.6", "validation=0.2", "test=0.2")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("root") / "dataset")


def test_every_sample_once_and_whole_in_the_order_of_the_dataset(dataset: Dataset, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "to", shard_size=7)
    expected = [sample for shard in dataset.shards for sample in dataset.load(IMAGES, shard)]
    found = published_samples(tmp_path / "to")["train"]
    assert [sample.key for sample in found] == [sample.key for sample in expected]
    columns = {
        name: [sample for shard in dataset.shards for sample in dataset.load(name, shard)]
        for name in ("sketch", "color")
    }
    for number, (sample, original) in enumerate(zip(found, expected, strict=True)):
        assert list(sample.members) == ["jpg", "txt", "json", "sketch.png", "color.png"]
        for member in ("jpg", "txt", "json"):
            assert sample.members[member] == bytes(original.members[member])
        assert sample.members["sketch.png"] == bytes(columns["sketch"][number].members["sketch.png"])
        cells = png.decode_rgb(bytes(columns["color"][number].members["color.png"]))
        known = json.loads(bytes(sample.members["json"]))
        size = (known["width"], known["height"])
        full = png.decode_rgb(bytes(sample.members["color.png"]))
        assert np.array_equal(full, cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST))
    assert sorted(path.name for path in (tmp_path / "to/data").glob("*.tar")) == [
        f"train-{number:06d}.tar" for number in range(5)
    ]


def test_the_same_bytes_by_any_workers_in_any_order(dataset: Dataset, tmp_path: Path) -> None:
    def backwards(verb: str, stage: Stage, shards: Sequence[int], of: int) -> RunResult:
        return here(verb, stage, list(shards)[::-1], of)

    publish_here(dataset, tmp_path / "a", splits=SPLITS)
    copy = Dataset.open(str(shutil.copytree(dataset.store.root, tmp_path / "copy of the root")))
    publish_here(copy, tmp_path / "b", splits=SPLITS, work=backwards)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_what_is_added_later_moves_no_sample(tmp_path: Path) -> None:
    for name, count in (("few", 40), ("more", 70)):
        make_images(tmp_path / name, Pictures(count), 15)
        publish_here(Dataset.open(str(tmp_path / name)), tmp_path / f"{name} out", splits=SPLITS)
    for split in ("train", "validation", "test"):
        few, more = keys_of(tmp_path / "few out", split), keys_of(tmp_path / "more out", split)
        assert few
        assert few == [key for key in more if key < "k00040"]


class Echo(Pictures):
    """Every seventh picture is the same."""

    def open(self, row: Row) -> Original:
        return super().open(replace(row, extra={"i": row.extra["i"] % 7}))


def test_duplicates_fall_into_one_split(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Echo(30), 12)
    table = mark_duplicates(dataset)
    assert len(table) >= 23
    publish_here(dataset, tmp_path / "to", splits=SPLITS)
    where = {key: split for split in ("train", "validation", "test") for key in keys_of(tmp_path / "to", split)}
    assert len(set(where.values())) > 1
    for row in table.to_pylist():
        assert where[row["key"]] == where[row["of"]]
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    alone = [
        row["key"]
        for row in table.to_pylist()
        if choose_split(row["key"], shares) != choose_split(row["of"], shares)
    ]
    assert alone, "none would have been sent elsewhere by its own key"


def test_shares_are_kept(tmp_path: Path) -> None:
    shares = {"train": 0.9, "test": 0.1}
    found = [choose_split(f"{i:09d}", shares) for i in range(20_000)]
    assert found.count(1) == pytest.approx(2000, abs=200)


def test_duplicates_are_left_out_when_asked_and_counted(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Echo(30), 12)
    marked = set(mark_duplicates(dataset)["key"].to_pylist())
    published = publish_here(dataset, tmp_path / "to", duplicates=False)
    keys = keys_of(tmp_path / "to")
    assert set(keys) == {f"k{i:05d}" for i in range(30)} - marked
    assert published.counts == {"train": 30 - len(marked)}
    assert f"duplicate {len(marked)}" in (tmp_path / "to/README.md").read_text()


def test_a_sample_that_lacks_a_condition_is_left_out_and_counted(toy: str, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(20, cursed=(3, 11)), 10)
    extract_here(dataset, "raises")
    publish_here(dataset, tmp_path / "to", columns=(toy,))
    assert keys_of(tmp_path / "to") == [f"k{i:05d}" for i in range(20) if i not in (3, 11)]
    assert all(list(s.members)[-1] == "toy.png" for s in published_samples(tmp_path / "to")["train"])
    assert "no toy 2" in (tmp_path / "to/README.md").read_text()


def licensed(samples: list[Sample]) -> list[Sample]:
    return [
        with_known(s, source={"license": i % 3 + 1, "license_name": f"Licence {i % 3 + 1}"} if i else {})
        for i, s in enumerate(samples)
    ]


def test_only_licences_asked_for(tmp_path: Path) -> None:
    dataset = rewrite_images(make_images(tmp_path / "root", Pictures(10), 10), licensed)
    publish_here(dataset, tmp_path / "to", licenses=("2", "3"))
    assert keys_of(tmp_path / "to") == [f"k{i:05d}" for i in (1, 2, 4, 5, 7, 8)]
    card = (tmp_path / "to/README.md").read_text()
    assert "licence not asked for 3, licence unknown 1" in card
    assert "- Licence 2: 3 samples\n- Licence 3: 3 samples\n" in card


class Crawl(Pictures):
    """Pictures of a crawl."""

    crawl: ClassVar = True

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        for row in super().rows(left_out, seen):
            yield replace(row, location=f"https://pictures.example/{row.extra['i']}.png")

    def open(self, row: Row) -> Original:
        original = super().open(row)
        return replace(original, content=png.encode_rgb(original.content))

    def describe(self) -> dict[str, Any]:
        return {"kind": "laion", "count": self.count, "cursed": [], "min_aesthetic": 6.5}


def test_of_a_crawl_the_pictures_stay_behind_unless_asked_for(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Crawl(5), 5, ("sketch",))
    publish_here(dataset, tmp_path / "without")
    publish_here(dataset, tmp_path / "with", with_images=True)
    [without], [whole] = (published_samples(tmp_path / name).values() for name in ("without", "with"))
    assert [list(sample.members) for sample in without] == [["txt", "json", "sketch.png"]] * 5
    assert [next(iter(sample.members)) for sample in whole] == ["jpg"] * 5
    assert json.loads(without[0].members["json"])["source"]["location"] == "https://pictures.example/0.png"
    card = (tmp_path / "without/README.md").read_text()
    assert "**The pictures are not in here.**" in card
    assert "| min_aesthetic | 6.5 |" in card


def test_a_source_that_says_nothing_is_a_crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Pictures, "crawl")
    dataset = make_images(tmp_path / "root", Pictures(3), 3)
    assert json.loads((tmp_path / "root/dataset.json").read_text())["crawl"] is True
    with pytest.raises(RequestError, match=r"no sample has the URL and sha256 .*; --with-images publishes"):
        publish_here(dataset, tmp_path / "to")
    assert not (tmp_path / "to").exists()
    publish_here(dataset, tmp_path / "to", with_images=True)


def test_no_path_of_this_machine_is_published(tmp_path: Path) -> None:
    class Folder(Pictures):
        def describe(self) -> dict[str, Any]:
            return {"kind": "folder", "folder": str(tmp_path / "my pictures")}

    dataset = make_images(tmp_path / "root", Folder(5), 5, ("sketch",))
    publish_here(dataset, tmp_path / "to")
    assert not [name for name, data in contents(tmp_path / "to").items() if str(tmp_path).encode() in data]
    assert json.loads((tmp_path / "to/publish.json").read_text())["source"]["folder"] == "my pictures"


def test_a_damaged_shard_of_the_dataset_is_not_published(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(10), 10)
    path = tmp_path / "root" / tar_path(IMAGES, 0)
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xd8") + 300] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedShard, match=r"images/000000\.tar: must have sha256"):
        publish_here(dataset, tmp_path / "to")
    assert not (tmp_path / "to/data").exists()


@pytest.mark.parametrize("column", [IMAGES, "sketch", "color"])
def test_a_shard_that_is_damaged_after_it_was_looked_at(column: str, tmp_path: Path) -> None:
    """In the midst of a member, where nothing but the digest tells."""
    dataset = toy_dataset(tmp_path / "root", 8, 4)
    path = tmp_path / "root" / tar_path(column, 1)

    def work(verb: str, stage: Stage, shards: Sequence[int], of: int) -> RunResult:
        if verb == "pack":
            data = bytearray(path.read_bytes())
            member = scan(memoryview(data))[-1].members[0]
            data[member.start + member.size // 2] ^= 1
            path.unlink()
            path.write_bytes(data)
        return here(verb, stage, shards, of)

    with pytest.raises(DamagedShard, match=rf"{column}/000001\.tar: must have sha256"):
        publish_here(dataset, tmp_path / "to", work=work)
    assert contents(tmp_path / "to").keys() == {"publish.json"}


@pytest.mark.parametrize(
    "splits",
    [("train=0.5",), ("train=0.5", "train=0.5"), ("Train=1",), ("a-b=1",), ("train",), ("train=0", "a=1"), ()],
)
def test_splits_that_make_no_sense(splits: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--splits must be"):
        publish_here(None, tmp_path, splits=splits)  # type: ignore[arg-type]
