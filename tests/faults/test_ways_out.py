"""A line about a damaged file names a way out, and the way leads out."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.remedy import COPY, tell_damage
from tests.faults.specimens import HerePool

HERE = "--engine local --workers 1"
AGAIN = f"{COPY}, or delete it and run "
DELETED = {
    "dataset.json": ("status", AGAIN, ["dataset.json"]),
    "color/column.json": ("status", AGAIN, ["color/column.json"]),
    "sketch/column.json": ("status", AGAIN, ["sketch/column.json"]),
    "images/000000.json": ("status", AGAIN, ["images/000000.json"]),
    "color/000001.json": ("status", AGAIN, ["color/000001.json"]),
    "images/000001.rows.parquet": (
        "verify",
        f"{COPY}, or delete it and its shard's receipt",
        ["images/000001.rows.parquet", "images/000001.json"],
    ),
}
"""File -> a command that reads it, what it says, and what is deleted then."""


@pytest.fixture(scope="module", autouse=True)
def here() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["t2i_shards.pipeline.engine.run"], "open_pool", HerePool)
        yield


def _make(root: Path) -> None:
    """The commands that make the dataset, or what of it is missing."""
    options = f"--samples 4 --shard-size 2 --size 64 --truth sketch --out {root} {HERE}"
    assert run(f"ingest scenes {options}".split()) == 0
    assert run(f"extract {root} --conditions color {HERE}".split()) == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "dataset"
    _make(root)
    return root


@pytest.mark.parametrize("name", DELETED)
def test_what_is_deleted_is_made_again(
    name: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, way, gone = DELETED[name]
    root = Path(shutil.copytree(whole, tmp_path / "dataset"))
    data = (whole / name).read_bytes()
    (root / name).unlink()
    (root / name).write_bytes(data[: len(data) // 2])
    assert run([command, str(root)]) in (2, 3)
    line = next(line for line in capsys.readouterr().err.splitlines() if name in line)
    assert way in line
    for other in gone:
        (root / other).unlink()
    _make(root)
    assert run(f"verify {root} {HERE}".split()) == 0
    assert (root / name).read_bytes() == data or name.startswith(("color/0", "images/0"))


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("s3://bucket/data/dataset.json", "same ingest"),
        ("data/000123/000123456.json", "the command that made the column"),
        ("pub/publish.json", "another --to"),
        ("receipts/train-000000.json", "publish again"),
        ("RUN/run.json", "another --out"),
        ("plan/000001.parquet", COPY),
    ],
)
def test_each_kind_of_file_has_its_way_out(path: str, way: str) -> None:
    assert tell_damage(path, "must be JSON").startswith(f"{path}: must be JSON; ")
    assert way in tell_damage(path, "must be JSON")


def test_a_file_that_is_not_known_has_none() -> None:
    assert tell_damage("map.json", "must be JSON") == "map.json: must be JSON"
