"""The layout `columns`: a dataset as it is, readable as one."""

from __future__ import annotations

import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.left_out import read_left_out, read_notes
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.publish.index import read_dali_index, scan
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.receipt import to_json
from t2i_shards.pipeline.sources.captions import SHORTENED
from t2i_shards.pipeline.stages.verify import verify_columns
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import Pictures, digests, make_images, problems
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset


def test_the_columns_are_copied_as_they_are(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path / "root", 10, 4)
    published = publish_here(dataset, tmp_path / "to", layout="columns")
    assert published.counts == {"images": 10, "sketch": 10, "color": 10}
    assert digests(tmp_path / "to") == digests(tmp_path / "root")
    assert problems(tmp_path / "to") == []
    assert verify_columns(Dataset.open(str(tmp_path / "to"))) == []
    with pytest.raises(RequestError, match=r"with --layout columns; .*open_stream reads it"):
        open_published(str(tmp_path / "to"))
    card = (tmp_path / "to/README.md").read_text()
    assert "| images | jpg | the picture, short side 64 pixels" in card
    assert (
        "| color | color.png | the picture in cells of 64x64 pixels, RGB; stored as one pixel for each |" in card
    )
    assert "| sketch | no network | | not told |" in card
    ours, theirs = (
        [s.key for s in open_stream(str(tmp_path / n), ("sketch",)).samples(0)] for n in ("root", "to")
    )
    assert ours == theirs
    before = contents(tmp_path / "to")
    shard = [f"sketch/000001.{suffix}" for suffix in ("json", "tar", "idx")]
    for name in ("SHA256SUMS", *shard, "dataset.json", "wids-sketch.json"):
        (tmp_path / "to" / name).unlink()
    assert publish_here(dataset, tmp_path / "to", layout="columns").made == 1
    assert contents(tmp_path / "to") == before
    assert publish_here(dataset, tmp_path / "to", layout="columns").made == 0


def test_a_copy_counts_what_the_newest_plan_leaves_out_and_keeps_its_counts(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path / "root", 8, 4)
    (plan := tmp_path / "root/plan").joinpath("left_out.json").write_bytes(to_json({"small": 1}))
    (plan / "left_out").mkdir()
    (plan / "left_out/000000.json").write_bytes(to_json({"counts": {"small": 2, SHORTENED: 3}, "tables": []}))
    publish_here(dataset, to := tmp_path / "to", layout="columns")
    copy = Dataset.open(str(to)).store
    assert (read_left_out(copy), read_notes(copy)) == ({"small": 2}, {SHORTENED: 3})
    (plan / "left_out/000001.json").write_bytes(to_json({"counts": {"small": 4, SHORTENED: 3}, "tables": []}))
    before = {name: data for name, data in contents(to).items() if name.startswith("plan/")}
    for _ in range(2):
        assert publish_here(dataset, to, layout="columns").made == 0
        assert {name: data for name, data in contents(to).items() if name.startswith("plan/")} == before
        (to / "SHA256SUMS").unlink()


def test_indexes_of_each_column_and_their_sums(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path / "root", 10, 4)
    to = tmp_path / "to"
    publish_here(dataset, to, layout="columns")
    sums = {line.split("  ")[1]: line.split("  ")[0] for line in (to / "SHA256SUMS").read_text().splitlines()}
    files = contents(to)
    assert sums.keys() == files.keys() - {"SHA256SUMS"}
    assert sums == {name: sha256(files[name]).hexdigest() for name in sums}
    for column in ("images", "sketch", "color"):
        paths = [to / column / f"{shard:06d}.tar" for shard in dataset.shards]
        for path in paths:
            with tarfile.open(path) as tar:
                lie = [(info.name, info.offset_data, info.size) for info in tar.getmembers()]
            entries = read_dali_index(path.with_suffix(".idx").read_bytes(), "index")
            assert [(f"{e.key}.{m.name}", m.start, m.size) for e in entries for m in e.members] == lie
        listed = json.loads((to / f"wids-{column}.json").read_text())["shardlist"]
        assert [(s["url"], s["nsamples"], s["filesize"]) for s in listed] == [
            (path.relative_to(to).as_posix(), count, path.stat().st_size)
            for path, count in zip(paths, (4, 4, 2), strict=True)
        ]


def test_wids_finds_each_sample_in_every_column(tmp_path: Path) -> None:
    wids = pytest.importorskip("wids", reason="needs wids (webdataset before 1.0)")
    dataset = toy_dataset(tmp_path / "root", 10, 4)
    publish_here(dataset, tmp_path / "to", layout="columns")
    for column in ("images", "sketch", "color"):
        found = wids.ShardListDataset(
            str(tmp_path / "to" / f"wids-{column}.json"), transformations=[], cache_dir=str(tmp_path / column)
        )
        expected = [s for shard in dataset.shards for s in dataset.load(column, shard)]
        assert len(found) == len(expected)
        for i, sample in enumerate(expected):
            members = {n.removeprefix("."): d.read() for n, d in found[i].items() if not n.startswith("__")}
            assert members == {name: bytes(data) for name, data in sample.members.items()}
            assert found[i]["__key__"] == sample.key


def test_datasets_reads_each_column_by_the_card(tmp_path: Path) -> None:
    import datasets

    dataset = toy_dataset(tmp_path / "root", 10, 4)
    publish_here(dataset, tmp_path / "to", layout="columns")
    kinds = {"images": {"jpg": "Image", "txt": "Value", "json": "Json"}}
    kinds |= {name: {f"{name}.png": "Image"} for name in ("sketch", "color")}
    for column, members in kinds.items():
        found = datasets.load_dataset(
            str(tmp_path / "to"), column, split="train", streaming=True, cache_dir=str(tmp_path / "cache")
        )
        named = {n: type(f).__name__ for n, f in found.features.items() if not n.startswith("__")}
        assert named == members
        assert [sample["__key__"] for sample in found] == [f"k{i:05d}" for i in range(10)]


def test_the_bytes_that_were_verified_are_those_that_are_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a store whose second answer is damaged, as one far away may give it, each tar is asked for once."""
    dataset = toy_dataset(tmp_path / "root", 4, 4, color=False)
    real, asked = FolderStore.load, list[str]()

    def load(store: FolderStore, path: str) -> memoryview:
        data = real(store, path)
        if store is not dataset.store or not path.endswith(".tar"):
            return data
        asked.append(path)
        return data if asked.count(path) == 1 else memoryview(bytes(len(data)))

    monkeypatch.setattr(FolderStore, "load", load)
    publish_here(dataset, tmp_path / "to", layout="columns")
    assert sorted(asked) == ["images/000000.tar", "sketch/000000.tar"]
    assert problems(tmp_path / "to") == []


@pytest.mark.parametrize("how", ["bytes", "twice"])
def test_a_damaged_shard_is_not_published(tmp_path: Path, how: str) -> None:
    """Damaged, or with its sketches there twice and a receipt that vouches for it."""
    dataset = toy_dataset(tmp_path / "root", 4, 4, color=False)
    tar, receipt = (tmp_path / "root/sketch" / f"000000.{suffix}" for suffix in ("tar", "json"))
    data = tar.read_bytes()
    if how == "bytes":
        damaged = data[:700] + bytes([data[700] ^ 1]) + data[701:]
    else:
        first = scan(memoryview(data))[1].start
        damaged = data[:first] + data
        known = json.loads(receipt.read_text())
        receipt.write_text(json.dumps({**known, "bytes": len(damaged), "sha256": sha256(damaged).hexdigest()}))
    tar.write_bytes(damaged)
    with pytest.raises(
        DamagedShard, match=r"sketch/000000\.tar: (must have sha256|.*k00000\.sketch\.png is there twice)"
    ):
        publish_here(dataset, tmp_path / "to", layout="columns")
    assert not (tmp_path / "to/sketch").exists()
    assert not (tmp_path / "to/SHA256SUMS").exists()


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
        ({"licenses": ("1",)}, "--licenses needs --layout packed"),
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
        crawl: ClassVar = True

        def describe(self) -> dict[str, Any]:
            return {"kind": "laion", "count": self.count}

    crawl = make_images(tmp_path / "crawl", Crawl(4), 4)
    with pytest.raises(RequestError, match="the pictures of a crawl only when asked --with-images"):
        publish_here(crawl, tmp_path / "to", layout="columns")
    remove(crawl, "keys", ["k00001"])
    with pytest.raises(RequestError, match="the removal of 1 sample needs --layout packed"):
        publish_here(crawl, tmp_path / "to", layout="columns", with_images=True)
