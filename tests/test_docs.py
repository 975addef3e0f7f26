"""The Python of docs/python.md runs as it is written there."""

import contextlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_shards.jobs.__main__ import run

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page assumes: a photograph, a dataset, a publication of it."""
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(20):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((128, 96)).save(folder / "photos" / f"{number}.jpg")
        (folder / "photos" / f"{number}.txt").write_text(f"picture {number}")
    Image.open(folder / "photos/0.jpg").save(folder / "photo.jpg")
    local = ["--engine", "local", "--workers", "1"]
    with contextlib.chdir(folder):
        assert run(["ingest", "folder", "photos", "--out", "data/photos", "--size", "64", *local]) == 0
        assert run(["extract", "data/photos", "--conditions", "sketch", "--variant", "mini", *local]) == 0
        assert (
            run(
                [
                    "publish",
                    "data/photos",
                    "--to",
                    "published",
                    "--columns",
                    "sketch",
                    "--readers",
                    "webdataset",
                    *local,
                ]
            )
            == 0
        )
    return folder


def test_every_block_runs(folder: Path) -> None:
    assert len(BLOCKS) == 6
    names: dict[str, object] = {"__name__": "page"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in BLOCKS:
            exec(compile(block, PAGE.name, "exec"), names)
    finally:
        os.chdir(before)
    assert Image.open(folder / "sketch.png").size == (128, 96)
    rest = names["rest"]
    assert isinstance(rest, list)
    assert len(rest) == 3
