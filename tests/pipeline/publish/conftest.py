"""A small publication in two splits, to be read only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.publish.toys import publish_here, toy_dataset


@pytest.fixture(scope="module")
def to(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    dataset = toy_dataset(folder / "root")
    publish_here(
        dataset,
        folder / "to",
        splits=("train=0.7", "test=0.3"),
        contact="remove@example.org",
        title="Toys & <more>",
    )
    return folder / "to"
