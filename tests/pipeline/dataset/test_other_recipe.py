"""A column.json that was altered, and stayed a recipe: every command names it, and the way out works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.columns import whole_column
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.verify import describe_repairs
from tests.faults.toys import problems
from tests.pipeline.publish.toys import toy_dataset

SAID = (
    "canny/column.json: its shards were made with another recipe; restore it from a copy, or delete it and run "
    "the command that made the column again"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    dataset = toy_dataset(tmp_path / "root", 6, 3, color=False)
    stage = plan_extract(dataset, ["canny"])
    stage.setup()
    stage(0), stage(1)
    path = tmp_path / "root/canny/column.json"
    record = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps({**record, "version": 99}))
    return tmp_path / "root"


def test_each_command_names_it(root: Path) -> None:
    dataset = Dataset.open(str(root))
    with pytest.raises(DamagedShard) as read:
        whole_column(dataset, "canny")
    assert str(read.value) == SAID
    with pytest.raises(RequestError) as asked:
        plan_extract(dataset, ["canny"])
    assert str(asked.value) == f"{root}/{SAID}"
    assert describe_repairs(dataset, problems(root)) == [SAID]


def test_the_way_out_works(root: Path) -> None:
    (root / "canny/column.json").unlink()
    plan_extract(Dataset.open(str(root)), ["canny"])
    assert problems(root) == []
    whole_column(Dataset.open(str(root)), "canny")
