"""What is known of each picture is read in the order of shards and rows, and only that of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.fingerprints import read_fingerprints
from t2i_shards.pipeline.dataset.outcomes import read_outcomes
from t2i_shards.pipeline.errors import DamagedShard
from tests.faults.toys import Pictures, make_images
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


PRINTS = ("key", "sha256", "phash", "phash256")


def test_of_samples_alone(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4, size=16), 4)
    assert dataset.receipts(IMAGES)[0].samples == 0
    prints, _ = read_fingerprints(dataset, tmp_path)
    assert len(prints.hashes) == len(prints.files) == 0


def test_tables_of_earlier_versions_have_no_longer_hash(dataset: Dataset, tmp_path: Path) -> None:
    rewrite_rows(dataset, 0, lambda rows: [row.pop("phash256") for row in rows])
    prints, _ = read_fingerprints(dataset, tmp_path)
    assert prints.hashes_256.any(1).tolist() == [i >= 4 for i in range(10)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("phash", "12"), ("phash", None), ("phash", "g" * 16), ("sha256", "x"), ("phash256", " " * 64)],
)
def test_what_is_no_number(dataset: Dataset, tmp_path: Path, name: str, value: str | None) -> None:
    rewrite_rows(dataset, 2, lambda rows: rows[1].update({name: value}))
    with pytest.raises(DamagedShard, match=rf"images/000002.rows.parquet: each {name} must be \d\d hex digits"):
        read_fingerprints(dataset, tmp_path)
