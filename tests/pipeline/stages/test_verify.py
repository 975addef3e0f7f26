"""Verify and status: every byte against its receipts, and what the receipts alone say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stages.verify import check_members, plan_verify, verify_columns, verify_plan
from tests.faults.toys import Pictures, extract_here, make_images, problems


@pytest.fixture
def root(tmp_path: Path, toy: str) -> Path:
    extract_here(make_images(tmp_path / "root", Pictures(9, cursed=(4,)), 3, ("sketch",)), "raises")
    return tmp_path / "root"


def replace_file(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def change_receipt(path: Path, **changes: object) -> None:
    receipt = Receipt.decode(path.read_bytes(), path.name)
    replace_file(path, replace(receipt, **changes).encode())  # type: ignore[arg-type]


def test_a_whole_dataset_has_no_problems(root: Path) -> None:
    assert problems(root) == []
    stage = plan_verify(Dataset.open(str(root)))
    assert sorted(stage.columns) == ["images", "sketch", "toy"]
    made = stage(1)
    assert {column: receipt.samples for column, receipt in made.receipts.items()} == {
        "images": 3,
        "sketch": 3,
        "toy": 2,
    }


def test_what_is_missing_is_named(root: Path) -> None:
    (root / "toy" / "000002.json").unlink()
    (root / "images" / "000001.json").unlink()
    assert "toy/000002: missing" in problems(root)
    assert "images/000001: missing" in problems(root)
    (root / "sketch" / "000000.tar").unlink()
    assert "sketch/000000.tar: has a receipt, but the file is gone" in problems(root)


def test_one_damaged_column_does_not_hide_another(root: Path) -> None:
    for column in ("images", "sketch", "toy"):
        path = root / column / "000001.tar"
        replace_file(path, path.read_bytes()[:-1])
    assert [line.split(":")[0] for line in problems(root)] == [
        f"{c}/000001.tar" for c in ("images", "sketch", "toy")
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": "other"}, "toy/000000: its recipe is not its column's"),
        ({"input": "0" * 64}, "toy/000000 was made from an images shard with sha256 000000000000…"),
        ({"input": None}, "toy/000000 was made from an images shard with sha256 None…"),
        ({"sha256": "0" * 64}, "toy/000000.tar: must have sha256 000000000000…, has "),
        ({"bytes": 5}, "toy/000000.tar: must have 5 bytes, has "),
        ({"keys": "0" * 64}, "toy/000000.tar: its keys are not those of its receipt"),
        ({"samples": 4, "planned": 4}, "toy/000000.tar: must have 4 samples, has "),
        ({"planned": 4}, "toy/000000.json: samples + drops must be what was planned, but 3 + 0 != 4"),
        ({"shard": 1}, "toy/000000.json: is the receipt of toy/1"),
        ({"format": 2}, "toy/000000.json: a receipt must have format 1, has 2"),
    ],
)
def test_a_receipt_that_does_not_fit_is_named(changes: dict[str, object], said: str, root: Path) -> None:
    change_receipt(root / "toy" / "000000.json", **changes)
    (found,) = problems(root)
    assert found.startswith(said)


def test_a_drop_that_was_no_drop_is_found(root: Path) -> None:
    change_receipt(root / "toy" / "000001.json", dropped={})
    assert problems(root) == ["toy/000001: the key k00004 is missing"]


def test_samples_swapped_between_shards_are_found(root: Path) -> None:
    """Each tar is whole, and each receipt is right about it."""
    for end in ("tar", "json"):
        a, b = (root / "sketch" / f"00000{n}.{end}" for n in (0, 1))
        first, second = a.read_bytes(), b.read_bytes()
        replace_file(a, second)
        replace_file(b, first)
    change_receipt(root / "sketch" / "000000.json", shard=0)
    change_receipt(root / "sketch" / "000001.json", shard=1)
    assert len(problems(root)) == 2
    images = Dataset.open(str(root)).receipts(IMAGES)
    for shard in (0, 1):
        change_receipt(root / "sketch" / f"00000{shard}.json", input=images[shard].sha256)
    assert problems(root) == [
        "sketch/000000: the key k00003 is foreign: images has none such",
        "sketch/000001: the key k00000 is foreign: images has none such",
    ]


def test_the_plan_is_verified(root: Path) -> None:
    dataset = Dataset.open(str(root))
    assert verify_plan(dataset) == []
    path = root / "plan" / "000001.parquet"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    replace_file(path, bytes(data))
    assert verify_plan(dataset) == ["plan: its digest is not the one in dataset.json"]
    path.unlink()
    assert verify_plan(dataset) == ["plan/000001.parquet: missing; restore it from a copy"]


def test_it_works_on_s3(bucket: str, toy: str) -> None:
    dataset = make_images(f"{bucket}/root", Pictures(6), 3)
    extract_here(dataset)
    assert problems(f"{bucket}/root") == []
    dataset.store._fs.rm_file(f"{bucket}/root/toy/000001.tar")  # type: ignore[attr-defined]
    assert problems(f"{bucket}/root") == ["toy/000001.tar: has a receipt, but the file is gone"]


@pytest.mark.parametrize("what", ["gone", "cut", "of another shard"])
def test_what_became_of_the_rows_is_verified(root: Path, what: str) -> None:
    path = root / "images" / "000001.rows.parquet"
    data = path.read_bytes()
    path.unlink()
    if what != "gone":
        other = (root / "images" / "000000.rows.parquet").read_bytes()
        path.write_bytes(data[:-9] if what == "cut" else other)
    assert [line.split(":")[0] for line in problems(root)] == ["images/000001.rows.parquet"]


def test_a_column_that_lost_its_recipe_is_named(root: Path) -> None:
    assert verify_columns(Dataset.open(str(root))) == []
    (root / "toy" / "column.json").unlink()
    (root / "notes").mkdir()
    assert verify_columns(Dataset.open(str(root))) == ["toy: has receipts, but toy/column.json is gone"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"persons": 2}, "must hold as many people as it says, 2, not 1"),
        ({"keypoints": [[[1.0, 2.0, 0.5]] * 16]}, "must hold 17 keypoints of 3 numbers for each person"),
        ({"height": 0}, "must have its format"),
    ],
)
def test_numbers_that_are_no_people_are_named(change: dict[str, object], said: str) -> None:
    record = {"persons": 1, "height": 64, "width": 64, "keypoints": [[[1.0, 2.0, 0.5]] * 17]}
    samples = [Sample("k0", {"keypose.json": json.dumps(record).encode()})]
    check_members(samples, "keypose/000003")
    samples.append(Sample("k1", {"keypose.json": json.dumps({**record, **change}).encode()}))
    with pytest.raises(DamagedShard, match=f"^keypose/000003: k1: its keypose.json {said}"):
        check_members(samples, "keypose/000003")
