"""A training of one process, which several files continue."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.jobs.__main__ import run
from tests.faults.trainings import make_scenes, train_words


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with the scenes' own sketches."""
    return make_scenes(tmp_path_factory.mktemp("scenes") / "dataset")


@pytest.fixture
def nobody_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is no worker that torchrun or Ray has started."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def alone(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert run(train_words(scenes, out)) == 0
    return out
