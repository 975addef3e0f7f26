"""Which roll-ups a run makes while it is under way, and that its workers make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.left import Left
from t2i_shards.pipeline.dataset.roll_up import RollUp
from t2i_shards.pipeline.stages.thousands import Thousands, WithRollUps
from tests.faults.toys import Pictures, make_images, shrink_roll_ups
from tests.pipeline.engine.test_run import Stage


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Ten shards, three of which are a thousand."""
    shrink_roll_ups(monkeypatch, 3)
    return make_images(tmp_path / "root", Pictures(10), 1)


def test_the_last_shard_of_a_thousand_allows_those_that_were_never_made(dataset: Dataset) -> None:
    left = Left([1, 2, 4, 9], {IMAGES: [], "color": [RollUp(3, 5, "0" * 64, "color")]}, False)
    thousands = Thousands(dataset, left)
    assert thousands.stage.ranges == [(IMAGES, range(3)), ("color", range(3)), (IMAGES, range(3, 6))]
    assert [thousands(shard) for shard in (9, 2, 4, 1)] == [[], [], [~2], [~0, ~1]]


def test_workers_make_shards_and_roll_ups(dataset: Dataset, tmp_path: Path) -> None:
    thousands = Thousands(dataset, Left([0, 1, 2, 3, 4, 5], {IMAGES: []}, False))
    shards = Stage(tmp_path)
    stage = WithRollUps(shards, thousands.stage)
    assert stage.resources is shards.resources
    for number in (4, ~1):
        stage(number)
    assert shards.tries(4) == 1
    assert [one.shards for one in dataset.roll_ups(IMAGES)] == [range(3, 6)]


def test_a_stage_stays_careful(dataset: Dataset, tmp_path: Path) -> None:
    class Careful(Stage):
        def run_carefully(self, shard: int) -> Any:
            return f"careful {shard}"

    nothing = Thousands(dataset, Left([], {IMAGES: []}, False)).stage
    assert WithRollUps(Careful(tmp_path), nothing).run_carefully(3) == "careful 3"
    plain = Stage(tmp_path)
    WithRollUps(plain, nothing).run_carefully(3)
    assert plain.tries(3) == 1
