"""Receipts that a machine's processes share: the same as the store's, read once, handed over as a path."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import t2i_shards.pipeline.stream.mapped_tables as mapped_tables
import t2i_shards.pipeline.stream.shared_receipts as shared
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.roll_up import read_receipts, write_roll_up
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable, tabulate
from t2i_shards.pipeline.stream.shared_receipts import MappedReceipts, read_shared
from tests.scale.synthetic import fill, make_receipt, put_in_folder, roll_up

SHARDS = range(120)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which this test's processes share receipts, be they few."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(shared, "FEW", 10)
    return folder / f"t2i-shards-{os.getuid()}" / "receipts"


@pytest.fixture
def dataset(tmp_path: Path, machine: Path) -> Dataset:
    fill(put_in_folder(tmp_path / "root"), len(SHARDS), ("sketch",))
    roll_up(str(tmp_path / "root"), ("sketch",))
    return Dataset.open(str(tmp_path / "root"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A column for each time that its receipts were read from the store."""
    seen: list[str] = []

    def read(store: Any, column: str, *others: Any, **options: Any) -> ReceiptTable:
        seen.append(column)
        return read_receipts(store, column, *others, **options)

    monkeypatch.setattr(shared, "read_receipts", read)
    return seen


def open_it(dataset: Dataset) -> ReceiptTable:
    return read_shared(dataset.store, "sketch", SHARDS, dataset.roll_ups("sketch"))


def the_file(machine: Path) -> Path:
    (path,) = machine.glob("*.arrow")
    return path


def test_they_are_read_once_and_are_those_of_the_store(dataset: Dataset, reads: list[str]) -> None:
    first, second = open_it(dataset), open_it(dataset)
    assert reads == ["sketch"]
    assert isinstance(second, MappedReceipts)
    expected = dataset.receipts("sketch")
    assert dict(first) == dict(second) == dict(expected)
    assert first.digest == second.digest == expected.digest


def test_without_roll_ups_each_process_reads_and_all_share_a_file(
    dataset: Dataset, machine: Path, reads: list[str]
) -> None:
    first, second = (read_shared(dataset.store, "sketch", SHARDS) for _ in "ab")
    assert reads == ["sketch"] * 2  # nothing says that the receipts are the same
    assert dict(first) == dict(second) == dict(dataset.receipts("sketch"))
    assert the_file(machine)  # one
    assert all(len(pickle.dumps(of)) < 500 for of in (first, second))


def test_another_roll_up_is_read(dataset: Dataset, reads: list[str]) -> None:
    before = open_it(dataset)
    (one,) = dataset.roll_ups("sketch")
    dataset.store.discard(one.path)
    receipts = [make_receipt(len(SHARDS), "sketch", shard) for shard in SHARDS]
    receipts[7] = replace(receipts[7], sha256="ab" * 32)
    write_roll_up(dataset.store, tabulate("sketch", receipts))
    assert open_it(dataset)[7] == receipts[7] != before[7]
    assert reads == ["sketch"] * 2


def test_roll_ups_of_another_name_leave_nothing_for_the_dataset_that_has_it(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger's dataset, which is opened first, has files of the same names and other receipts."""
    (one,) = dataset.roll_ups("sketch")
    put = put_in_folder(tmp_path / "strange")
    fill(put, len(SHARDS), ("sketch",))
    path = f"sketch/{shard_name(7)}.json"
    put(path, replace(make_receipt(len(SHARDS), "sketch", 7), sha256="ab" * 32).encode())
    put(one.path, b"whatever")
    strange = Dataset.open(str(tmp_path / "strange"))
    assert open_it(strange)[7].sha256 == "ab" * 32
    assert f"a roll-up is ignored: {one.path}" in caplog.text
    assert dict(open_it(dataset)) == dict(dataset.receipts("sketch"))


def test_a_damaged_file_is_made_again(dataset: Dataset, machine: Path, reads: list[str]) -> None:
    expected = dict(open_it(dataset))
    path = the_file(machine)
    for damage in (lambda data: data[:-1], lambda data: b"", lambda data: data[:999] + b"x" + data[1000:]):
        path.write_bytes(damage(path.read_bytes()))
        assert dict(open_it(dataset)) == expected
    assert reads == ["sketch"] * 4


def test_a_loader_is_given_a_path(dataset: Dataset, machine: Path) -> None:
    found = open_it(dataset)
    sent = pickle.dumps(found)
    assert len(sent) < 500
    assert dict(pickle.loads(sent)) == dict(found)  # noqa: S301  (as a loader gets it)
    the_file(machine).unlink()
    assert dict(pickle.loads(pickle.dumps(found))) == dict(found)  # noqa: S301  (by value)


def test_what_is_in_use_stays_and_the_rest_makes_room(
    dataset: Dataset, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_tables, "BOUND", 0)
    kept = open_it(dataset)
    read_shared(dataset.store, "sketch", range(50), dataset.roll_ups("sketch"))
    read_shared(dataset.store, "sketch", range(60), dataset.roll_ups("sketch"))
    assert len(list(machine.glob("*.arrow"))) == 2  # the first, and the last, which was in use as room was made
    assert kept.mapped.file.name in map(str, machine.glob("*.arrow"))  # type: ignore[attr-defined]


def test_where_nothing_can_be_kept_they_are_read(
    dataset: Dataset, machine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine.parent.mkdir()
    machine.write_bytes(b"")
    assert dict(open_it(dataset)) == dict(dataset.receipts("sketch"))
    assert "each process reads the receipts of sketch" in caplog.text
