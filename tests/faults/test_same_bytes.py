"""The same input gives byte-identical shards whatever the workers, the batch and the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.extractors.registry import EXTRACTORS
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.engine.run import Engine
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import choose_truths, claim_truths, plan_dataset
from tests.faults.toys import Logged, Pictures, run_here

SHARDS, SHARD_SIZE = 5, 11
SOURCE = Pictures(SHARDS * SHARD_SIZE, cursed=(3, 30))


def make(root: Path, engine: Engine | None, workers: int, batch: int) -> dict[str, Any]:
    """Ingest and extract; all files of the dataset, receipts without the seconds."""
    dataset = plan_dataset(str(root), SOURCE, Geometry(size=64), SHARD_SIZE)
    ingest = Ingest(dataset, SOURCE, claim_truths(dataset, choose_truths(SOURCE, ["sketch"])))
    extract = plan_extract(dataset, ["toy"], variant="raises", batch=batch)
    for stage in (ingest, extract):
        if engine is None:
            run_here(stage, dataset.shards)
        else:
            assert run(Logged(stage, "/dev/null"), dataset.shards, engine, workers).quarantined == {}
    return contents(root)


def contents(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*.*")):
        name = path.relative_to(root).as_posix()
        if path.is_file():
            found[name] = path.read_bytes()
        if path.suffix == ".json" and "/0" in name:
            found[name] = json.loads(found[name]) | {"seconds": 0}
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Made in this process, one picture at a time, without an engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXTRACTORS, "toy", {"raises": "tests.faults.toys:Toy"})
        found = make(tmp_path_factory.mktemp("alone") / "dataset", None, 1, 1)
    assert sum(name.endswith(".tar") for name in found) == SHARDS * len((IMAGES, "sketch", "toy"))
    return found


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("engine", "workers", "batch"),
    [
        ("local", 1, 3),
        ("local", 2, 8),
        ("local", 3, 1),
        ("ray", 1, 8),
        pytest.param("ray", 2, 3, marks=pytest.mark.soak),
    ],
)
def test_workers_batch_and_engine_change_no_byte(
    engine: Engine,
    workers: int,
    batch: int,
    alone: dict[str, Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_address")
    assert make(tmp_path / "dataset", engine, workers, batch) == alone
