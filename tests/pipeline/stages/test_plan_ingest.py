"""Requests for a plan or for truths that cannot be met."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages.plan_ingest import choose_truths, plan_dataset
from tests.faults.toys import Pictures, fill

GEOMETRY = Geometry(size=64)


def test_a_truth_the_source_does_not_know_is_refused(tmp_path: Path) -> None:
    source = Pictures(3)
    dataset = plan_dataset(str(tmp_path / "root"), source, GEOMETRY, 3)
    with pytest.raises(
        RequestError, match=r"--truth must name conditions this source knows exactly \(sketch\), not 'seg'"
    ):
        fill(dataset, source, ("sketch", "seg"))
    assert dataset.columns() == [IMAGES], "one was begun before the other was refused"


def test_a_source_without_exact_maps_says_so(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no exact maps, so leave --truth out; extract finds"):
        choose_truths(FolderSource(str(tmp_path)), ["depth"])


def test_a_shard_needs_a_row(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--shard-size must be at least 1, not 0"):
        plan_dataset(str(tmp_path / "root"), Pictures(3), GEOMETRY, 0)
