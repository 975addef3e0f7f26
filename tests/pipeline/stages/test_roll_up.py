"""Roll-ups: made of whole thousands, never trusted over a receipt, and not missed when they are gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from t2i_shards.pipeline.dataset.columns import whole_column
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.plan import Segment
from t2i_shards.pipeline.dataset.roll_up import RollUp, find_ranges, list_roll_ups, read_roll_up, write_roll_up
from t2i_shards.pipeline.dataset.status import dataset_status
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.receipt_table import check_rows, from_table, tabulate, to_table
from t2i_shards.pipeline.stages.roll_up import plan_roll_up, verify_roll_ups
from t2i_shards.pipeline.stages.stage import StageResult
from tests.scale.synthetic import fill, make_receipt, put_in_folder

SHARDS = 120
COLUMNS = (IMAGES, "sketch")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(put_in_folder(tmp_path / "root"), SHARDS, COLUMNS)
    return tmp_path / "root"


def make_roll_ups(dataset: Dataset, made: dict[int, StageResult] | None = None) -> list[RollUp]:
    stage = plan_roll_up(dataset, COLUMNS, {"sketch": made or {}})
    for number in range(len(stage.ranges)):
        stage(number)
    return [one for column in COLUMNS for one in dataset.roll_ups(column)]


def replace_receipt(root: Path, shard: int, **changes: Any) -> StageResult:
    """As after its files were deleted and it was made again."""
    receipt = replace(make_receipt(SHARDS, "sketch", shard), **changes)
    path = root / "sketch" / f"{shard_name(shard)}.json"
    path.unlink()
    path.write_bytes(receipt.encode())
    return StageResult({"sketch": receipt})


def test_they_say_what_the_receipts_say_and_these_are_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_receipt(root, 5, samples=3998, drops={"too small": 2}, dropped={"k": "why"})
    dataset = Dataset.open(str(root))
    before, status = dataset.receipts("sketch"), dataset_status(dataset)
    assert [one.shards for one in make_roll_ups(dataset)] == [range(SHARDS)] * 2
    assert make_roll_ups(dataset) == make_roll_ups(dataset)  # nothing is left to do
    monkeypatch.setattr("t2i_shards.pipeline.dataset.roll_up.load_receipt", None)
    assert dict(dataset.receipts("sketch")) == dict(before)
    assert dataset.receipts("sketch").digest == before.digest
    assert dataset_status(dataset) == status
    assert whole_column(dataset, "sketch", range(50)).shards.tolist() == list(range(50))


def test_without_them_everything_is_as_before(root: Path) -> None:
    dataset = Dataset.open(str(root))
    make_roll_ups(dataset)
    with_them = dataset_status(dataset)
    for column in COLUMNS:
        shutil.rmtree(root / column / "rollups")
    assert dataset_status(dataset) == with_them
    assert verify_roll_ups(dataset, {}) == []


def test_a_receipt_that_is_gone_counts_as_missing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Dataset.open(str(root))
    _, one = make_roll_ups(dataset)
    (root / "sketch/000007.json").unlink()
    assert dataset.left(["sketch"]) == [7]
    assert dataset_status(dataset)[1].missing == 1
    assert f"a roll-up is ignored: {one.path}: sketch/000007 has no receipt" in caplog.text
    with pytest.raises(RequestError, match="sketch lacks 1 of 120 shards, the first 000007"):
        whole_column(dataset, "sketch")
    assert verify_roll_ups(dataset, {}) == [
        f"{one.path}: sketch/000007 has no receipt; delete it, and run extract or ingest again"
    ]


def test_one_that_contradicts_a_receipt_is_named_and_made_again(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = Dataset.open(str(root))
    _, before = make_roll_ups(dataset)
    made = {7: replace_receipt(root, 7, sha256="ab" * 32)}
    told = f"{before.path}: has another receipt of sketch/000007"
    assert verify_roll_ups(dataset, made) == [f"{told}; delete it, and run extract or ingest again"]
    _, after = make_roll_ups(dataset, made)
    assert f"a roll-up is made again: {told}" in caplog.text
    assert read_roll_up(dataset.store, after)[7] == made[7].receipts["sketch"]
    assert verify_roll_ups(dataset, {}) == []


@pytest.mark.parametrize("changes", [{"recipe": "another"}, {"input": "ab" * 32}])
def test_one_that_would_refuse_the_column_is_not_believed(
    changes: dict[str, str], root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = Dataset.open(str(root))
    wrong = [make_receipt(SHARDS, "sketch", shard) for shard in range(SHARDS)]
    wrong[3] = replace(wrong[3], **changes)
    write_roll_up(dataset.store, tabulate("sketch", wrong))
    images = whole_column(dataset, IMAGES)
    assert whole_column(dataset, "sketch", images=images)[3] == load_receipt(dataset.store, "sketch", 3)
    assert "the roll-ups of sketch are ignored: sketch/000003 was made " in caplog.text
    replace_receipt(root, 3, **changes)
    with pytest.raises(DamagedShard, match="sketch/000003 was made "):
        whole_column(dataset, "sketch", images=images)


def test_a_damaged_one_is_named_and_ignored(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Dataset.open(str(root))
    _, one = make_roll_ups(dataset)
    expected = dataset_status(dataset)
    data = bytearray((root / one.path).read_bytes())
    data[1000] ^= 1
    (root / one.path).unlink()
    (root / one.path).write_bytes(data)
    assert dataset_status(dataset) == expected
    assert f"a roll-up is ignored: {one.path}: its bytes are not those of its name" in caplog.text
    assert len(verify_roll_ups(dataset, {})) == 1


Change = Callable[[pa.Table], pa.Table]


def change(name: str, row: int, value: object) -> Change:
    def apply(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[row] = value
        at = table.schema.get_field_index(name)
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    return apply


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (change("shard", 4, 3), "must have the shards 0 to 119"),
        (lambda table: table.slice(1), "must have the shards 0 to 119"),
        (change("samples", 4, -1), "must have counts in their range"),
        (change("planned", 4, 2 * 10**9), "must have counts in their range"),
        (change("planned", 4, 5000), "samples [+] drops must be what was planned"),
        (change("drops", 4, '{"too small": 1}'), "samples [+] drops must be what was planned"),
        (change("drops", 4, '{"too small": -1}'), "must have its format"),
        (change("dropped", 4, "[]"), "must have its format"),
        (change("input", 4, b"short"), "input must be a digest"),
    ],
)
def test_a_strangers_one_is_held_to_the_rules_of_receipts(alter: Change, said: str, root: Path) -> None:
    """Its content matches its name, but no receipts can be like that."""
    dataset = Dataset.open(str(root))
    good = to_table(whole_column(dataset, "sketch"))
    assert len(check_rows("sketch", good, range(SHARDS))) == SHARDS
    written = write_roll_up(dataset.store, from_table("sketch", alter(good)))
    one = replace(written, first=0, last=SHARDS - 1)
    if one.path != written.path:
        (root / written.path).rename(root / one.path)
    with pytest.raises(DamagedShard, match=said):
        read_roll_up(dataset.store, one)
    assert dict(dataset.receipts("sketch")) == dict(tabulate("sketch", dataset.receipts("sketch").receipts()))


@pytest.mark.parametrize("added", [1, 2])
def test_shards_that_are_added_get_their_own(added: int, root: Path) -> None:
    dataset = Dataset.open(str(root))
    make_roll_ups(dataset)
    dataset.supplement(Segment(SHARDS, added, added, "", added))
    assert plan_roll_up(dataset, COLUMNS, {}).ranges == []  # they are not done
    for shard in range(SHARDS, SHARDS + added):
        receipt = make_receipt(SHARDS, "sketch", shard)
        (root / "sketch" / f"{shard_name(shard)}.json").write_bytes(receipt.encode())
    found = [one for one in make_roll_ups(dataset) if one.column == "sketch"]
    assert [one.shards for one in found] == [range(SHARDS), range(SHARDS, SHARDS + added)]
    assert list(read_roll_up(dataset.store, found[1])) == list(found[1].shards)
    assert len(whole_column(dataset, "sketch")) == SHARDS + added


def test_the_only_shard_of_a_thousand_gets_one(tmp_path: Path) -> None:
    fill(put_in_folder(tmp_path), 1001, ("sketch",))
    dataset = Dataset.open(str(tmp_path))
    stage = plan_roll_up(dataset, ["sketch"], {})
    assert [shards for _, shards in stage.ranges] == [range(1000), range(1000, 1001)]
    stage(1)
    (one,) = dataset.roll_ups("sketch")
    assert list(read_roll_up(dataset.store, one)) == [1000]


def test_which_shards_get_one() -> None:
    assert find_ranges(range(99), [], []) == []
    assert find_ranges(range(2500), [], []) == [range(1000), range(1000, 2000), range(2000, 2500)]
    assert find_ranges(range(2500), [1500], []) == [range(1000)]
    had = [RollUp(0, 999, "", "sketch"), RollUp(1000, 1049, "", "sketch")]
    assert find_ranges(range(2000), [], had) == [range(1050, 2000)]


def test_of_two_for_the_same_shards_one_counts(root: Path) -> None:
    dataset = Dataset.open(str(root))
    (one,) = [of for of in make_roll_ups(dataset) if of.column == "sketch"]
    for name in (replace(one, sha256="f" * 64).path, "sketch/rollups/shards-000119-000005.parquet"):
        (root / name).write_bytes(b"")
    assert list_roll_ups(dataset.store, "sketch") == [one]
