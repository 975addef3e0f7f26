"""extract makes roll-ups, and succeeds without them where they cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.roll_up import read_roll_up
from t2i_shards.pipeline.stages.roll_up import verify_roll_ups
from tests.faults.toys import Pictures, make_images, shrink_roll_ups

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(autouse=True)
def three_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of three shards gets a roll-up, and has no more than three in one."""
    shrink_roll_ups(monkeypatch, 3)


def test_extract_makes_them_and_does_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "root"
    make_images(root, Pictures(7), 1)
    command = ExtractCommand(str(root), ("color",), device="cpu", engine=EngineOptions("local", workers=1))
    dataset, thousands = Dataset.open(str(root)), [range(3), range(3, 6), range(6, 7)]
    for column in (IMAGES, "color"):
        (root / column).mkdir(exist_ok=True)
        (root / column / "rollups").write_bytes(b"")  # where a folder should be
    assert command.run().problems == ()
    assert caplog.text.count("a roll-up is left for the end of the run: ") == 2
    assert "roll-ups could not be made: " in caplog.text
    for column in (IMAGES, "color"):
        (root / column / "rollups").unlink()
    caplog.clear()
    assert command.run().problems == ()
    assert caplog.text == ""
    assert [one.shards for column in (IMAGES, "color") for one in dataset.roll_ups(column)] == thousands * 2
    assert verify_roll_ups(dataset, {}) == []


def test_what_was_made_under_way_is_not_read_again_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_images(tmp_path / "root", Pictures(7), 1)
    command = ExtractCommand(
        dataset.store.root, ("color",), device="cpu", engine=EngineOptions("local", workers=1)
    )
    monkeypatch.setattr("t2i_shards.pipeline.stages.roll_up.read_roll_up", None)
    command.run()
    assert [one.shards for one in dataset.roll_ups("color")] == [range(3), range(3, 6), range(6, 7)]


@pytest.mark.parametrize("left", [0, 1])
def test_a_shard_that_was_deleted_in_a_bucket_is_made_again(left: int, bucket: str) -> None:
    """Its roll-up, which is still there, says that it is done; also where others are left to do."""
    dataset = make_images(f"{bucket}/root", Pictures(4), 1)
    command = ExtractCommand(f"{bucket}/root", ("color",), device="cpu", engine=EngineOptions("local", workers=1))
    command.run()
    before = dataset.receipts("color")
    assert [one.shards for one in dataset.roll_ups("color")] == [range(3), range(3, 4)]
    for shard in (1, 3) if left else (1,):
        for suffix in ("json", "tar"):
            dataset.store.discard(f"color/{shard:06d}.{suffix}")
    if left:
        dataset.store.discard(dataset.roll_ups("color")[1].path)
    summary = command.run()
    assert (summary.problems, summary.record["made"]) == ((), 1 + left)
    assert summary.record["samples"] == {"color": 1 + left}
    assert dataset.left(["color"]) == []
    assert [s.key for s in dataset.load("color", 1)] == ["k00001"]
    assert dataset.receipts("color").digest == before.digest
    one, _ = dataset.roll_ups("color")
    assert read_roll_up(dataset.store, one)[1] == dataset.receipts("color")[1]
    assert verify_roll_ups(dataset, {}) == []
