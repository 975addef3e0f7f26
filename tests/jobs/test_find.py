"""find, remove and status as commands: what they are asked and what they answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.jobs.command import execute
from t2i_shards.jobs.commands import parse_command
from t2i_shards.pipeline.dataset.dataset import Dataset
from tests.faults.toys import Pictures, make_images


@pytest.fixture
def root(tmp_path: Path) -> str:
    make_images(tmp_path / "root", Pictures(8), 4)
    (tmp_path / "list").write_text("picture:1\npicture:6\n")
    return str(tmp_path / "root")


def run(*words: str) -> int:
    return execute(parse_command(words))


def test_each_row_is_a_line_of_json(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("find", root, "--caption", "number 1", "number 6") == 0
    *lines, end = capsys.readouterr().out.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["key"], row["shard"], row["state"]) for row in rows] == [
        ("k00001", 0, "sample"),
        ("k00006", 1, "sample"),
    ]
    assert rows[0]["location"] == "picture:1"
    assert end == f"find: 2 rows in {root}; sample 2"
    assert run("find", root, "--json", "--path", "nowhere") == 0
    assert json.loads(capsys.readouterr().out) == {"command": "find", "rows": [], "problems": []}
    assert run("find", root) == 2


def test_removed_by_path_counted_and_taken_back(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = str(tmp_path / "list")
    assert run("remove", root, "--paths", paths, "--dry-run") == 0
    assert "2 samples would be removed, 0 before; nothing was written" in (out := capsys.readouterr().out)
    assert out.endswith("nothing was written\n")
    assert Dataset.open(root).store.names("tombstones") == []
    assert run("remove", root, "--paths", paths) == 0
    assert run("status", root) == 0
    assert "8 rows in 2 shards; 2 removed" in capsys.readouterr().out
    assert run("find", root, "--key", "k00006") == 0
    assert "; removed 1" in capsys.readouterr().out
    assert run("remove", root, "--undo", "--dry-run") == 0
    assert "the removal of 2 samples would be taken back; nothing was written" in capsys.readouterr().out
    assert run("remove", root, "--undo", "--paths", paths, "--json") == 0
    assert json.loads(capsys.readouterr().out)["undone"] == ["k00001", "k00006"]
    assert run("remove", root, "--undo") == 2
    assert "nothing is removed" in capsys.readouterr().err
    assert run("status", root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 0


def test_status_names_a_table_of_tombstones_that_is_gone(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root/tombstones").mkdir()
    (tmp_path / "root/tombstones/000002.parquet").write_bytes(b"")
    assert run("status", root) == 3
    assert "tombstones/000001.parquet: gone" in capsys.readouterr().err
