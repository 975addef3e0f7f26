"""ingest leaves an index of names behind, makes none twice, and is done without where it cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.ingest import IngestScenes
from t2i_shards.jobs.ingest_flow import IngestOptions
from t2i_shards.jobs.verify import VerifyCommand
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.name_index import find_shards
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.scenes import ScenesSource

pytestmark = pytest.mark.usefixtures("in_this_process")

LOCAL = EngineOptions("local", workers=1)


@pytest.fixture(autouse=True)
def three_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset of three shards gets an index."""
    for module in ("dataset.name_index", "stages.index_names"):
        monkeypatch.setattr(f"t2i_shards.pipeline.{module}.LEAST", 3)


def ingest(root: Path) -> Summary:
    return IngestScenes(
        options=IngestOptions(str(root), 1), source=ScenesSource(3), geometry=Geometry(64), engine=LOCAL
    ).run()


def test_ingest_makes_it_once_and_does_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    (root / "images/rollups").write_bytes(b"")  # where a folder should be
    assert ingest(root).problems == ()
    assert "indices of names could not be made: " in caplog.text
    (root / "images/rollups").unlink()
    caplog.clear()
    assert ingest(root).problems == ()
    assert caplog.text == ""
    files = sorted((root / "images/rollups").iterdir())
    names = [file.name.partition(".")[0] for file in files]
    assert names == [f"{kind}-1-000000-000002" for kind in ("fingerprints", "names", "sizes")]
    inodes = [file.stat().st_ino for file in files]
    assert ingest(root).problems == ()
    assert [file.stat().st_ino for file in files] == inodes
    assert find_shards(Dataset.open(str(root)), ["scene:0/1"]) == [1]
    assert VerifyCommand(str(root), LOCAL).run().problems == ()
    file = files[1]
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[:-9])
    (problem,) = VerifyCommand(str(root), LOCAL).run().problems
    assert problem.startswith(f"images/rollups/{file.name}: ")
    assert problem.endswith("; delete it, and run ingest again")
