"""extract leaves roll-ups behind, and is done without them where they cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.stages.roll_up import verify_roll_ups
from tests.faults.toys import Pictures, make_images


def test_extract_makes_them_and_does_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "root"
    make_images(root, Pictures(100), 1)
    command = ExtractCommand(str(root), ("color",), device="cpu", engine=EngineOptions("local", workers=1))
    (root / IMAGES / "rollups").write_bytes(b"")  # where a folder should be
    assert command.run().problems == ()
    assert "roll-ups could not be made: " in caplog.text
    (root / IMAGES / "rollups").unlink()
    caplog.clear()
    assert command.run().problems == ()
    assert caplog.text == ""
    dataset = Dataset.open(str(root))
    assert [one.shards for column in (IMAGES, "color") for one in dataset.roll_ups(column)] == [range(100)] * 2
    assert verify_roll_ups(dataset, {}) == []
