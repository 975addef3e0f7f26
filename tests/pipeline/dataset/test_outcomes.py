"""rows.parquet: it is trusted only as far as the shard's receipt confirms it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.verify import VerifyCommand
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import find_duplicates
from t2i_shards.pipeline.dataset.outcomes import decode_rows, digest_rows, encode_rows, rows_path, sample_keys
from t2i_shards.pipeline.dataset.tombstones import read_tombstones, remove
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.commit import load_receipt, receipt_path
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import Pictures, make_images, problems

Rows = list[dict[str, Any]]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(8), 4)


def alter(dataset: Dataset, change: Callable[[Rows], Any], shard: int = 0) -> None:
    path = Path(dataset.store.root, rows_path(shard))
    rows = decode_rows(path.read_bytes())
    change(rows)
    path.unlink()
    path.write_bytes(encode_rows(rows))


def rename(rows: Rows) -> None:
    rows[1]["key"] = "another"


def drop(rows: Rows) -> None:
    rows[1]["status"] = "too small"


def forge_file(rows: Rows) -> None:
    rows[1]["sha256"] = "0" * 64


def age(dataset: Dataset) -> None:
    """Make the receipts those of an earlier version."""
    for shard, receipt in dataset.receipts(IMAGES).items():
        path = Path(dataset.store.root, receipt_path(IMAGES, shard))
        path.unlink()
        path.write_bytes(replace(receipt, rows=None).encode())
        assert b'"rows"' not in path.read_bytes()


def test_the_receipt_names_the_rows(dataset: Dataset) -> None:
    receipt = load_receipt(dataset.store, IMAGES, 0)
    assert receipt is not None
    assert receipt.rows == digest_rows(dataset.store.load(rows_path(0)))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("change", [rename, drop, list.reverse, list.clear])
def test_wrong_rows_lift_no_removal(dataset: Dataset, change: Callable[[Rows], Any], old: bool) -> None:
    if old:
        age(dataset)
    remove(dataset, "keys", ["k00001"])
    alter(dataset, change)
    assert read_tombstones(dataset) == {0: {"k00001"}}
    stream = open_stream(dataset.store.root, ())
    assert sorted(sample.key for sample in stream.samples(0)) == [f"k{i:05d}" for i in range(8) if i != 1]
    assert [line.split(":")[0] for line in problems(Path(dataset.store.root))] == [rows_path(0)]


@pytest.mark.parametrize("damage", [None, b"", b"PAR1 but not much else"])
def test_unreadable_rows_lift_no_removal(dataset: Dataset, damage: bytes | None) -> None:
    remove(dataset, "keys", ["k00001"])
    path = Path(dataset.store.root, rows_path(0))
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert read_tombstones(dataset) == {0: {"k00001"}}
    receipt = load_receipt(dataset.store, IMAGES, 0)
    assert receipt is not None
    assert sample_keys(dataset.store, receipt) == [f"k{i:05d}" for i in range(4)]


def test_altered_facts_of_a_picture_are_refused(dataset: Dataset) -> None:
    """A removal by digest would not find its picture, and end with 'not in this dataset'."""
    alter(dataset, forge_file)
    said = "its sha256 is not the one in the shard's receipt"
    with pytest.raises(DamagedShard, match=said):
        remove(dataset, "sha256", ["1" * 64])
    with pytest.raises(DamagedShard, match=said):
        find_duplicates(dataset)
    with pytest.raises(RequestError, match=said):
        open_stream(dataset.store.root, (), buckets=2)


@pytest.mark.usefixtures("in_this_process")
def test_receipts_of_an_earlier_version_are_good_and_verify_counts_them(
    dataset: Dataset,
) -> None:
    def verify() -> tuple[str, Mapping[str, Any], tuple[str, ...]]:
        summary = VerifyCommand(dataset.store.root, EngineOptions("local", 1)).run()
        return summary.line, summary.record, summary.problems

    line, record, found = verify()
    assert (record["older"], found) == (0, ())
    assert "earlier version" not in line
    age(dataset)
    line, record, found = verify()
    assert (record["older"], found) == (2, ())
    assert "only keys and drops were compared for 2 images shards of an earlier version" in line
    assert len(open_stream(dataset.store.root, ())) == 8


def test_a_lost_table_of_tombstones_lifts_no_removal(dataset: Dataset) -> None:
    for key in ("k00001", "k00002"):
        remove(dataset, "keys", [key])
    Path(dataset.store.root, "tombstones/000001.parquet").unlink()
    with pytest.raises(DamagedShard, match=r"tombstones/000001\.parquet: gone"):
        open_stream(dataset.store.root, ())
