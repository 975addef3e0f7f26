"""extract makes roll-ups, and succeeds without them where they cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.roll_up import read_roll_up
from t2i_shards.pipeline.stages.roll_up import verify_roll_ups
from tests.faults.toys import Pictures, make_images

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(autouse=True)
def three_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of three shards gets a roll-up."""
    for module in ("dataset.roll_up", "dataset.dataset", "stages.roll_up"):
        monkeypatch.setattr(f"t2i_shards.pipeline.{module}.LEAST", 3)


def test_extract_makes_them_and_does_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "root"
    make_images(root, Pictures(3), 1)
    command = ExtractCommand(str(root), ("color",), device="cpu", engine=EngineOptions("local", workers=1))
    (root / IMAGES / "rollups").write_bytes(b"")  # where a folder should be
    assert command.run().problems == ()
    assert "roll-ups could not be made: " in caplog.text
    (root / IMAGES / "rollups").unlink()
    caplog.clear()
    assert command.run().problems == ()
    assert caplog.text == ""
    dataset = Dataset.open(str(root))
    assert [one.shards for column in (IMAGES, "color") for one in dataset.roll_ups(column)] == [range(3)] * 2
    assert verify_roll_ups(dataset, {}) == []


def test_a_shard_that_was_deleted_in_a_bucket_is_made_again(bucket: str) -> None:
    """Its roll-up, which is still there, says that it is done."""
    dataset = make_images(f"{bucket}/root", Pictures(3), 1)
    command = ExtractCommand(f"{bucket}/root", ("color",), device="cpu", engine=EngineOptions("local", workers=1))
    command.run()
    before = dataset.receipts("color")
    assert [one.shards for one in dataset.roll_ups("color")] == [range(3)]
    for suffix in ("json", "tar"):
        dataset.store.discard(f"color/000001.{suffix}")
    summary = command.run()
    assert (summary.problems, summary.record["made"]) == ((), 1)
    assert [s.key for s in dataset.load("color", 1)] == ["k00001"]
    assert dataset.receipts("color").digest == before.digest
    (one,) = dataset.roll_ups("color")
    assert read_roll_up(dataset.store, one)[1] == dataset.receipts("color")[1]
    assert verify_roll_ups(dataset, {}) == []
