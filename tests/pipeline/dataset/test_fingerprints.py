"""What is known of each picture is read in the order of shards and rows, and only that of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

from t2i_shards.pipeline.dataset import name_index, outcomes
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.fingerprints import UNKNOWN, read_fingerprints
from t2i_shards.pipeline.dataset.outcomes import read_outcomes
from t2i_shards.pipeline.dataset.plan import write_segment
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import digest_keys
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.index_names import plan_index, verify_index
from tests.faults.toys import Pictures, fill, make_images
from tests.pipeline.dataset.rewrite import rewrite_rows


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(10), 4)


def test_as_the_tables_say(dataset: Dataset, tmp_path: Path) -> None:
    rewrite_rows(dataset, 1, lambda rows: rows[1].update(sha256="ab" * 32))
    prints, names = read_fingerprints(dataset, tmp_path)
    rows = [(shard, row) for shard, table in read_outcomes(dataset, PRINTS) for row in table.to_pylist()]
    indices = np.arange(len(rows))
    assert list(zip(names.shard(indices).tolist(), names.key(indices), strict=True)) == [
        (shard, row["key"]) for shard, row in rows
    ]
    assert [f"{value:016x}" for value in prints.hashes.tolist()] == [row["phash"] for _, row in rows]
    longer = ["".join(f"{part:016x}" for part in value) for value in prints.hashes_256.tolist()]
    assert longer == [row["phash256"] for _, row in rows]
    assert prints.files.any(1).tolist() == [i == 5 for i in range(10)]
    assert prints.files[5].tolist() == [0xABABABABABABABAB] * 4
    assert names.key(np.array([9, 0, 9])) == ["k00009", "k00000", "k00009"]
    assert names.key(indices[:0]) == []


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Seven shards are three pieces; one shard has no sample, another no longer hashes."""
    monkeypatch.setattr("t2i_shards.pipeline.dataset.name_index.LEAST", 3)
    monkeypatch.setattr("t2i_shards.pipeline.stages.index_names.LEAST", 3)
    monkeypatch.setattr(name_index, "THOUSAND", 3)
    dataset = make_images(tmp_path / "root", Pictures(14), 2)
    rewrite_rows(dataset, 0, lambda rows: [row.pop("phash256") for row in rows])
    none = {"samples": 0, "drops": {"too small": 2}, "keys": digest_keys(())}
    rewrite_rows(dataset, 4, lambda rows: [row.update(status="too small") for row in rows], **none)
    return dataset


def write_all(dataset: Dataset) -> int:
    """How many pieces were made."""
    stage = plan_index(dataset, dataset.receipts(IMAGES))
    for number in range(len(stage.pieces)):
        stage(number)
    return len(stage.pieces)


def read_all(dataset: Dataset, scratch: Path) -> tuple[list[Any], list[int]]:
    """(all that is known of the pictures, the shards whose tables of rows were read for it)"""
    read, load = list[int](), outcomes.read_rows

    def count(store: Store, images: Receipt) -> pa.Table:
        read.append(images.shard)
        return load(store, images)

    scratch.mkdir()
    with mock.patch.object(outcomes, "read_rows", count):
        prints, names = read_fingerprints(dataset, scratch)
    every = np.arange(len(prints.hashes))
    arrays = (prints.files, prints.hashes, prints.hashes_256, names.shard(every))
    return [names.key(every), *(array.tolist() for array in arrays)], sorted(read)


def test_they_are_kept_and_the_tables_of_new_shards_alone_are_read(indexed: Dataset, tmp_path: Path) -> None:
    before, read = read_all(indexed, tmp_path / "before")
    assert read == list(range(7))
    assert len(before[0]) == 12
    assert write_all(indexed) == 3
    assert write_all(indexed) == 0
    assert read_all(indexed, tmp_path / "kept") == (before, [])
    indexed.supplement(write_segment(indexed.store, [Row("k99999", "picture:3", ("x",), extra={"i": 3})], 2, 7))
    fill(indexed, Pictures(14))
    after, read = read_all(indexed, tmp_path / "grown")
    assert read == [7]
    assert [column[:12] for column in after] == before
    assert after[0][12:] == ["k99999"]


@pytest.mark.parametrize("harm", ["cut", "flipped", "swapped", "gone"])
def test_a_file_that_is_damaged_is_named_and_the_tables_are_read(
    indexed: Dataset, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, _ = read_all(indexed, tmp_path / "before")
    write_all(indexed)
    one, two, _ = sorted((tmp_path / "root/images/rollups").glob("fingerprints-*"))
    data, other = bytearray(two.read_bytes()), one.read_bytes()
    two.unlink()
    if harm == "flipped":
        data[data.index(b"k00010")] ^= 1
    if harm != "gone":
        two.write_bytes({"cut": data[:-9], "flipped": data, "swapped": other}[harm])
    assert read_all(indexed, tmp_path / "after") == (before, [4, 5] if harm == "flipped" else [3, 4, 5])
    assert (f"the tables of its shards are read instead: images/rollups/{two.name}" in caplog.text) == (
        harm != "gone"
    )
    assert len(verify_index(indexed)) == (harm != "gone")


def test_those_of_an_earlier_state_are_not_believed(indexed: Dataset, tmp_path: Path) -> None:
    write_all(indexed)
    rewrite_rows(indexed, 4, lambda rows: rows[0].update(phash="1" * 16), sha256="1" * 64)
    after, read = read_all(indexed, tmp_path / "after")
    assert read == [3, 4, 5]
    assert write_all(indexed) == 1
    assert read_all(indexed, tmp_path / "again") == (after, [])
    assert len(list((tmp_path / "root/images/rollups").glob("fingerprints-*"))) == 3


PRINTS = ("key", "sha256", "phash", "phash256")


def test_of_samples_alone(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4, size=16), 4)
    assert dataset.receipts(IMAGES)[0].samples == 0
    prints, _ = read_fingerprints(dataset, tmp_path)
    assert len(prints.hashes) == len(prints.files) == 0


def test_tables_of_earlier_versions_have_no_longer_hash(dataset: Dataset, tmp_path: Path) -> None:
    rewrite_rows(dataset, 0, lambda rows: [row.pop("phash256") for row in rows])
    prints, _ = read_fingerprints(dataset, tmp_path)
    assert (prints.hashes_256 != UNKNOWN).any(1).tolist() == [i >= 4 for i in range(10)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("phash", "12"), ("phash", None), ("phash", "g" * 16), ("sha256", "x"), ("phash256", " " * 64)],
)
def test_what_is_no_number(dataset: Dataset, tmp_path: Path, name: str, value: str | None) -> None:
    rewrite_rows(dataset, 2, lambda rows: rows[1].update({name: value}))
    with pytest.raises(DamagedShard, match=rf"images/000002.rows.parquet: each {name} must be \d\d hex digits"):
        read_fingerprints(dataset, tmp_path)
