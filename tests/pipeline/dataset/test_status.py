"""Status: counts of what is done, missing and stale, from the receipts alone."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.jobs.status import StatusCommand
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.status import dataset_status
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.receipt_table import digest_receipts
from tests.faults.specimens import make_downloaded
from tests.faults.toys import Pictures, extract_here, make_images


@pytest.fixture
def root(tmp_path: Path, toy: str) -> Path:
    extract_here(make_images(tmp_path / "root", Pictures(10, cursed=(4,)), 3), "raises")
    return tmp_path / "root"


def change_receipt(path: Path, **changes: object) -> None:
    receipt = Receipt.decode(path.read_bytes(), path.name)
    path.unlink()
    path.write_bytes(replace(receipt, **changes).encode())  # type: ignore[arg-type]


def test_what_is_done(root: Path) -> None:
    dataset = Dataset.open(str(root))
    images, toy = dataset_status(dataset)
    assert (images.column, images.planned, images.done, images.missing, images.stale) == ("images", 4, 4, 0, 0)
    assert (toy.column, toy.planned, toy.done, toy.missing, toy.stale) == ("toy", 4, 4, 0, 0)
    assert (images.samples, toy.samples) == (10, 9)
    assert (images.drops, toy.drops) == ({}, {"failed (ValueError)": 1})
    for column in (images, toy):
        tars = sorted((root / column.column).glob("*.tar"))
        assert column.bytes == sum(path.stat().st_size for path in tars)
        assert column.digest == digest_receipts(dataset.receipts(column.column))


def test_a_supplement_that_is_gone_is_named_and_nothing_is_missing_below_zero(tmp_path: Path) -> None:
    make_downloaded(tmp_path / "root", tmp_path / "web")
    whole = StatusCommand(str(tmp_path / "root")).run()
    assert (whole.problems, whole.record["columns"]["images"]["done"]) == ((), 3)
    (tmp_path / "root/supplements/000001.json").unlink()
    summary = StatusCommand(str(tmp_path / "root")).run()
    assert {(c["done"], c["missing"]) for c in summary.record["columns"].values()} == {(2, 0)}
    assert summary.problems == tuple(
        f"{column}/000002: has a receipt, but no plan asks for it; a file of supplements/ may be gone"
        for column in ("images", "color")
    )


def test_samples_and_drops_are_what_was_planned(root: Path) -> None:
    dataset = Dataset.open(str(root))
    for column in dataset.columns():
        for shard, receipt in dataset.receipts(column).items():
            assert receipt.samples + sum(receipt.drops.values()) == receipt.planned == len(dataset.plan(shard))


def test_what_is_missing(root: Path) -> None:
    (root / "toy" / "000001.json").unlink()
    (root / "images" / "000003.json").unlink()
    images, toy = dataset_status(Dataset.open(str(root)))
    assert (images.done, images.missing) == (3, 1)
    assert (toy.done, toy.missing) == (3, 1)
    assert toy.stale == 1, "it was made from pictures that are not there"


def test_what_is_stale(root: Path) -> None:
    change_receipt(root / "toy" / "000000.json", recipe="another")
    change_receipt(root / "toy" / "000002.json", input="0" * 64)
    change_receipt(root / "images" / "000003.json", recipe="another")
    images, toy = dataset_status(Dataset.open(str(root)))
    assert (images.stale, toy.stale) == (1, 2)
    assert (images.done, toy.done) == (4, 4)


def test_damaged_receipts_are_named_and_hide_no_others(root: Path) -> None:
    (root / "images/000001.json").write_text("{")
    (root / "toy/000000.json").unlink()
    (root / "toy/000000.json").write_bytes((root / "toy/000002.json").read_bytes())
    (root / "toy/000003.json").write_bytes(b"")
    summary = StatusCommand(str(root)).run()
    columns = summary.record["columns"]
    assert [(columns[name]["done"], columns[name]["missing"]) for name in ("images", "toy")] == [(3, 1), (2, 2)]
    assert columns["toy"]["stale"] == 1, "it was made from the pictures whose receipt is damaged"
    named = (
        "images/000001.json: not a receipt",
        "toy/000000.json: is the receipt of toy/2",
        "toy/000003.json: not",
    )
    assert len(summary.problems) == 3
    assert all(map(str.startswith, summary.problems, named)), summary.problems
    with pytest.raises(DamagedShard, match=r"^images/000001\.json: not a receipt"):
        Dataset.open(str(root)).receipts(IMAGES)


def test_no_tar_is_read(root: Path) -> None:
    before = dataset_status(Dataset.open(str(root)))
    for path in root.glob("*/*.tar"):
        path.unlink()
    assert dataset_status(Dataset.open(str(root))) == before


def test_a_column_that_was_just_begun(root: Path) -> None:
    dataset = Dataset.open(str(root))
    dataset.claim("depth", {})
    begun = dataset_status(dataset)[1]
    assert (begun.column, begun.done, begun.missing, begun.samples) == ("depth", 0, 4, 0)
    assert dataset_status(dataset)[0].column == IMAGES


@pytest.mark.parametrize("at_once", [1, 2])
def test_so_many_receipts_are_read_at_once(at_once: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reader waits until as many run as were asked for; one more would be noticed."""
    expected = dataset_status(Dataset.open(str(root)))
    lock, others = threading.Lock(), threading.Barrier(at_once)
    here, most = 0, 0

    def wait(*of: Any) -> Receipt | None:
        nonlocal here, most
        with lock:
            here += 1
            most = max(here, most)
        others.wait(timeout=60)
        time.sleep(0.01)
        with lock:
            here -= 1
        return load_receipt(*of)

    monkeypatch.setattr("t2i_shards.pipeline.dataset.roll_up.load_receipt", wait)
    assert dataset_status(Dataset.open(str(root)), at_once) == expected
    assert most == at_once
