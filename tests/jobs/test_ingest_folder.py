"""A folder of one's own pictures, by the commands that a user types."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.stages.verify import verify_plan
from tests.pipeline.image.pictures import save, smooth

pytestmark = pytest.mark.usefixtures("in_this_process")

LOCAL = ("--size", "64", "--shard-size", "3", "--engine", "local", "--workers", "1", "--json")


def ingest(folder: Path, *more: str) -> int:
    return run(["ingest", "folder", str(folder), "--out", str(folder.parent / "root"), *LOCAL, *more])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, each unlike the others, with captions."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        put(folder, f"p{number}", number)
    return folder


def put(folder: Path, name: str, number: int) -> None:
    (folder / f"{name}.png").write_bytes(save(smooth(100 + number, 140)[:, number::1], "PNG"))
    (folder / f"{name}.txt").write_text(f"picture {number}")


def said(capfd: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capfd.readouterr().out)


def captions(root: Path) -> dict[str, str]:
    dataset = Dataset.open(str(root))
    samples = [sample for shard in dataset.shards for sample in dataset.load("images", shard)]
    return {sample.key.lstrip("0") or "0": bytes(sample.members["txt"]).decode() for sample in samples}


def test_files_that_return_are_retried_and_new_ones_are_planned(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = folder.parent / "root"
    (folder / "p1.txt").unlink()
    (folder / "notes.md").write_text("mine")
    shutil.copy(folder / "p3.png", folder.parent / "kept.png")
    (folder / "p3.png").write_bytes(b"")  # planned, and gone before it is read
    assert ingest(folder, "--workers", "1") == 0
    first = said(capfd)
    assert first["drops"] == {"images": {"no caption": 1, "not a picture": 1}}
    assert first["left_out"] == {"format not taken": 1}
    assert ingest(folder, "--retry-failed") == 0
    assert len(Dataset.open(str(root)).shards) == 2  # nothing has come back
    (folder / "p1.txt").write_text("it came back")
    put(folder, "p00", 7)
    capfd.readouterr()
    assert ingest(folder, "--retry-failed", "--add-new") == 0
    assert said(capfd)["yield"] == pytest.approx(5 / 6)
    assert captions(root) == {
        "0": "picture 0",
        "2": "picture 2",
        "4": "picture 4",
        "1": "it came back",
        "5": "picture 7",
    }
    assert ingest(folder, "--retry-failed", "--add-new") == 0
    dataset = Dataset.open(str(root))
    assert (len(dataset.shards), dataset.planned) == (4, 6)
    assert verify_plan(dataset) == []
    capfd.readouterr()
    assert run(["status", str(root), "--json"]) == 0
    assert said(capfd)["rows"] == 6


def test_a_hundred_missing_files_are_drops_and_the_gate_says_where_they_were_looked_for(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(120):
        (folder / f"gone{number:03}.png").symlink_to("nothing.png")
        (folder / f"gone{number:03}.txt").write_text("gone")
    assert ingest(folder, "--shard-size", "200") == 3
    out = capfd.readouterr()
    assert json.loads(out.out)["drops"] == {"images": {"no such file": 120}}
    assert (
        f"5 of 125 rows became samples, 4.0% is under --min-yield 0.3; they were looked for in {folder}" in out.err
    )
    assert ingest(folder, "--shard-size", "200", "--min-yield", "0.01") == 0


def test_without_captions_the_way_out_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path in folder.glob("*.txt"):
        path.unlink()
    assert ingest(folder) == 2
    assert "--captions filename or --captions none" in capfd.readouterr().err
    assert not (folder.parent / "root/dataset.json").exists()
