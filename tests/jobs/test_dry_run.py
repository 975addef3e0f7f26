"""--dry-run: nothing is written, and what it says is what then happens."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_shards.adapters.training.validation import Validation
from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.dry_run import dry_run, format_bytes
from t2i_shards.pipeline.shards.dry_store import DryStore
from t2i_shards.pipeline.shards.store import open_store
from tests.faults.trainings import make_scenes, train_words

pytestmark = pytest.mark.usefixtures("in_this_process")

LOCAL = ["--engine", "local", "--workers", "1"]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """All below a folder, hidden ones too: when it was changed, and its size."""
    found = {str(path): path.lstat() for path in folder.rglob("*")}
    return {path: (stat.st_mtime_ns, stat.st_size if os.path.isfile(path) else 0) for path, stat in found.items()}


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command with --dry-run and --json; the record that it prints."""

    def ask(words: list[str], code: int = 0) -> dict[str, Any]:
        before = tree(tmp_path)
        capsys.readouterr()
        assert run([*words, "--dry-run", "--json"]) == code
        assert tree(tmp_path) == before
        record: dict[str, Any] = json.loads(capsys.readouterr().out or "{}")
        return record

    return ask


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(7):
        noise = np.random.default_rng(number).integers(0, 256, (80, 96, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("noise")
    (folder / "3.txt").unlink()
    return folder


def test_an_ingest(photographs: Path, ask: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    words = ["ingest", "folder", str(photographs), "--out", str(root), "--size", "64", "--shard-size", "4", *LOCAL]
    found = ask(words)
    assert (found["shards"], found["left"], found["rows"]) == (2, 2, 7)
    assert found["dropped_of_tried"] == {"no caption": 1}
    assert run(words) == 0
    size = sum(path.stat().st_size for path in (root / "images").glob("*.tar"))
    assert found["bytes"] == pytest.approx(size, rel=0.5)
    found = ask(words)
    assert (found["shards"], found["left"]) == (2, 0)
    (photographs / "9.txt").write_text("new")
    (photographs / "1.png").rename(photographs / "9.png")
    assert ask([*words, "--add-new"])["left"] == 1
    ask([*words[:-2], "--workers", "1", "--size", "128"], 2)


def test_an_extraction_and_a_publication(ask: Any, tmp_path: Path) -> None:
    root, to = make_scenes(tmp_path / "root"), tmp_path / "to"
    words = ["extract", str(root), "--conditions", "color", "canny", *LOCAL]
    found = ask(words)
    assert found["columns"].keys() == {"color", "canny"}
    assert run(words) == 0
    for column, told in found["columns"].items():
        assert (told["shards"], told["samples"]) == (6, 24)
        size = sum(path.stat().st_size for path in (root / column).glob("*.tar"))
        assert told["bytes"] == pytest.approx(size, rel=0.6)
    assert ask(words)["columns"] == {}
    ask(["extract", str(root), "--conditions", "smell"], 2)

    words = ["publish", str(root), "--to", str(to), "--columns", "color", "--readers", *LOCAL]
    found = ask(words)
    assert found["samples"] == {"train": 24}
    assert run(words) == 0
    size = sum(path.stat().st_size for path in (to / "data").glob("*.tar"))
    assert found["bytes"] == pytest.approx(size, rel=0.5)
    assert ask(words)["shards"] == found["shards"]
    ask([*words, "--shard-size", "1"], 2)


def test_a_training(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = make_scenes(tmp_path / "root"), tmp_path / "run"
    words = train_words(root, out)
    found = ask(words)
    assert (found["steps"], found["begun"], found["samples"], found["held_out"]) == (4, 0, 22, 2)
    assert found["seconds"] > 0
    assert run(words) == 0
    kept = sum(path.stat().st_size for path in out.rglob("*.safetensors"))
    assert kept <= found["bytes"] * 1.1 <= 2 * kept
    assert ask([*words, "--steps", "6"])["begun"] == 4
    ask([*words, "--seed", "1"], 2)
    ask([*words, "--from", str(tmp_path / "nowhere")], 2)
    more = [*words, "--steps", "6"]
    ask([*more, "--sample-every", "1", "--weights", str(tmp_path)], 2)
    monkeypatch.setattr(Validation, "measure", lambda *_: math.nan)
    ask(more, 2)


def test_stores_are_dry_inside_the_block_alone(tmp_path: Path) -> None:
    with dry_run():
        assert isinstance(open_store(tmp_path), DryStore)
        assert open_store(tmp_path).create_bytes("a", b"1")
        assert bytes(open_store(str(tmp_path)).load("a")) == b"1", "each store of a place sees what others created"
    assert open_store(tmp_path).names("") == []


@pytest.mark.parametrize(("count", "told"), [(640_000, "640 kB"), (12_345_678, "12.3 MB"), (4.5e9, "4.5 GB")])
def test_sizes_are_told_in_powers_of_ten(count: float, told: str) -> None:
    assert format_bytes(count) == told
