"""Ingest where something is damaged or fails: it is named, and the rest of the summary still given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.ingest import IngestFolder
from t2i_shards.jobs.ingest_flow import After, IngestOptions, ingest
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.folder import FolderSource
from tests.faults.toys import Pictures, make_images
from tests.pipeline.stages.test_ingest_failures import Moody

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_a_damaged_receipt_is_named_and_nothing_is_decided_without_it(tmp_path: Path) -> None:
    folder, root = tmp_path / "in", tmp_path / "root"
    folder.mkdir()
    for n in range(4):
        Image.fromarray(np.full((64, 64, 3), 60 * n, np.uint8)).save(folder / f"{n}.png")
        (folder / f"{n}.txt").write_text("a caption")
    (folder / "alone.txt").write_text("of no picture")
    make_images(root, FolderSource(str(folder)), 2)
    command = IngestFolder(
        options=IngestOptions(str(root), 2),
        geometry=Geometry(64),
        engine=EngineOptions("local", 1),
        folder=str(folder),
        retry_failed=True,
    )
    (root / "images/000001.json").write_text("{")
    damaged = command.run()
    [problem] = damaged.problems
    assert problem.startswith("images/000001.json: not a receipt")
    assert damaged.line.endswith("; left out of the plan: caption without picture 1")
    assert not {"yield", "duplicates"} & damaged.record.keys()
    assert not (root / "duplicates").exists()


def test_pictures_that_are_all_there_are_counted_where_a_truth_fails(tmp_path: Path) -> None:
    make_images(root := tmp_path / "root", Pictures(6), 3)
    options = IngestOptions(str(root), 3, truth=("sketch",))
    made = ingest(Moody(6, bad=(1,)), Geometry(64), options, EngineOptions("local", 1), After(min_yield=0.3))
    assert any("its source now gives no truth" in problem for problem in made.problems)
    assert (made.record["yield"], made.record["duplicates"]) == (1.0, {})
    assert not any(problem.startswith("yield") for problem in made.problems)
