"""The indexes, compared with tarfile, SQLite and each other."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.pipeline.publish.index import dali_index, energon_meta, read_dali_index, scan
from t2i_shards.pipeline.shards.tar import TarError
from tests.pipeline.publish.toys import publish_here, toy_dataset


@pytest.fixture(scope="module")
def to(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    dataset = toy_dataset(folder / "root")
    publish_here(dataset, folder / "to", splits=("train=0.7", "a_test=0.3"))
    return folder / "to"


def tars(to: Path) -> list[Path]:
    return sorted((to / "data").glob("*.tar"))


def dali_of(tar: Path) -> Path:
    return tar.parents[1] / "dali" / f"{tar.stem}.idx"


def test_every_member_lies_where_the_indexes_say(to: Path) -> None:
    for path in tars(to):
        entries = read_dali_index(dali_of(path).read_bytes(), "index")
        starts = np.frombuffer(path.with_suffix(".tar.idx").read_bytes(), "<u8").tolist()
        data = path.read_bytes()
        with tarfile.open(path) as tar:
            infos = tar.getmembers()
        flat = [(f"{e.key}.{m.name}", m.start, m.size) for e in entries for m in e.members]
        assert flat == [(info.name, info.offset_data, info.size) for info in infos]
        by_key: dict[str, int] = {}
        for info in infos:
            by_key.setdefault(info.name.partition(".")[0], info.offset)
        assert starts == [*by_key.values(), len(data) - 1024]
        assert scan(memoryview(data)) == entries


def test_the_text_of_dalis_index(to: Path) -> None:
    path = tars(to)[0]
    lines = dali_of(path).read_text().splitlines()
    entries = scan(memoryview(path.read_bytes()))
    assert lines[0] == f"v1.2 {len(entries)}"
    assert lines[1].split()[:4] == ["jpg", "512", str(entries[0].members[0].size), f"{entries[0].key}.jpg"]
    assert dali_index(read_dali_index(dali_index(entries), "index")) == dali_index(entries)


def test_energons_table_and_counts_are_of_one_order(to: Path) -> None:
    counts = json.loads((to / ".nv-meta/.info.json").read_text())["shard_counts"]
    parts = json.loads((to / ".nv-meta/split.yaml").read_text())["split_parts"]
    assert list(parts) == ["a_test", "train"]
    assert sorted(name for names in parts.values() for name in names) == list(counts)
    with sqlite3.connect(to / ".nv-meta/index.sqlite") as table:
        samples = table.execute("SELECT * FROM samples ORDER BY tar_file_id, sample_index").fetchall()
        members = table.execute("SELECT * FROM sample_parts").fetchall()
    expected, expected_members = [], []
    for number, name in enumerate(counts):
        data = (to / name).read_bytes()
        entries = scan(memoryview(data))
        assert counts[name] == len(entries)
        ends = [*(entry.start for entry in entries[1:]), len(data) - 1024]
        for i, (entry, end) in enumerate(zip(entries, ends, strict=True)):
            expected.append((number, entry.key, i, entry.start, end - entry.start))
            expected_members += [(number, i, m.name, m.start, m.size) for m in entry.members]
    assert samples == expected
    assert sorted(members) == sorted(expected_members)


def test_webshart_finds_every_member(to: Path) -> None:
    for path in tars(to):
        index = json.loads((to / "webshart" / f"{path.stem}.json").read_text())
        data = path.read_bytes()
        with tarfile.open(path) as tar:
            lie = {info.name: {"offset": info.offset_data, "length": info.size} for info in tar.getmembers()}
        assert index == {"path": path.name, "filesize": len(data), "files": lie}


def test_webshart_itself_reads_it(to: Path) -> None:
    webshart = pytest.importorskip("webshart", reason="needs webshart")
    found = webshart.discover_dataset(str(to / "data"), metadata=str(to / "webshart"))
    seen = {}
    for shard in range(found.num_shards):
        reader = found.open_shard(shard)
        seen |= {name: reader.read_file(i) for i, name in enumerate(found.list_files_in_shard(shard))}
    expected = {}
    for path in tars(to):
        with tarfile.open(path) as tar:
            expected |= {info.name: tar.extractfile(info).read() for info in tar.getmembers()}  # type: ignore[union-attr]
    assert seen == expected


def test_energon_finds_the_validation_split_by_its_own_name() -> None:
    def parts(*names: str) -> list[str]:
        made = energon_meta({name: [(f"data/{name}-000000.tar", 1)] for name in names})
        return list(json.loads(made[".nv-meta/split.yaml"])["split_parts"])

    assert parts("train", "validation", "test") == ["test", "train", "val"]
    assert parts("train", "validation", "val") == ["train", "val", "validation"]


def test_wids_names_the_shards_of_a_split(to: Path) -> None:
    for split in ("train", "a_test"):
        index = json.loads((to / f"wids-{split}.json").read_text())
        assert index["wids_version"] == 1
        for shard in index["shardlist"]:
            path = to / shard["url"]
            assert path.name.startswith(f"{split}-")
            assert shard["filesize"] == path.stat().st_size
            assert shard["nsamples"] == len(scan(memoryview(path.read_bytes())))


def test_a_scan_ends_at_a_cut(to: Path) -> None:
    data = tars(to)[0].read_bytes()
    with pytest.raises(TarError):
        scan(memoryview(data[:-1024]))
    with pytest.raises(TarError):
        scan(memoryview(data + bytes(512)))
