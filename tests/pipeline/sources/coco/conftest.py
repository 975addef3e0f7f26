"""A small COCO."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.coco_toy import ToyPicture, rendered_pictures, write_coco


@pytest.fixture(scope="session")
def pictures() -> list[ToyPicture]:
    return rendered_pictures()


@pytest.fixture
def coco(pictures: list[ToyPicture], tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco", pictures)
