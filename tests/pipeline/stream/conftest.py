"""Datasets on disk: pictures, and a toy column that lacks two of them; and a store with a cache before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.extractors.registry import EXTRACTORS
from tests.faults.toys import Pictures, extract_here, make_images
from tests.pipeline.stream.cached import Far

SHARDS, SHARD_SIZE = 23, 3


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 shards of 3, pictures and toy; two samples have no map. To be read only."""
    root = tmp_path_factory.mktemp("stream") / "root"
    dataset = make_images(root, Pictures(SHARDS * SHARD_SIZE, cursed=(4, 50)), SHARD_SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXTRACTORS, "toy", {"raises": "tests.faults.toys:Toy"})
        extract_here(dataset, "raises")
    return root


@pytest.fixture
def small(tmp_path: Path, toy: str) -> Path:
    extract_here(make_images(tmp_path / "root", Pictures(6), 3))
    return tmp_path / "root"


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(tmp_path)
