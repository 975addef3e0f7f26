"""erase as a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2i_shards.jobs.command import execute
from t2i_shards.jobs.commands import parse_command
from tests.pipeline.publish.toys import contents, toy_dataset


def run(*words: str) -> int:
    return execute(parse_command(words))


def test_erase_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "root")
    toy_dataset(tmp_path / "root", 8, 4, color=False)
    assert run("erase", root) == 0
    assert "no sample was removed, so there is nothing to erase" in capsys.readouterr().out
    (tmp_path / "keys").write_text("k00001\n")
    assert run("remove", root, "--keys", str(tmp_path / "keys")) == 0
    before = contents(root)
    assert run("erase", root, "--dry-run") == 0
    assert (
        "1 sample of 1 shard, in images, sketch, and 1 row of the plan, would be erased" in capsys.readouterr().out
    )
    assert contents(root) == before
    assert run("erase", root, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["samples"], record["shards"], record["columns"]) == (1, 1, ["images", "sketch"])
    assert json.loads(contents(root)["tombstones/000001.erased.json"])["samples"] == {"000000": ["k00001"]}
    assert run("verify", root) == 0
    assert run("find", root, "--key", "k00001", "k00002") == 0
    assert "; erased 1, sample 1" in capsys.readouterr().out
    assert run("remove", root, "--undo") == 2
    assert "were erased, or left out of a publication" in capsys.readouterr().err


def test_what_is_erased_already_is_not_counted_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "root")
    toy_dataset(tmp_path / "root", 8, 4, color=False)
    later = {name: data for name, data in contents(root).items() if name.startswith("sketch/000000.")}
    (tmp_path / "keys").write_text("k00001\n")
    assert run("remove", root, "--keys", str(tmp_path / "keys")) == 0
    assert run("erase", root) == 0
    capsys.readouterr()
    for option in ((), ("--dry-run",)):
        assert run("erase", root, *option) == 0
        assert capsys.readouterr().out == "erase: all that was removed is erased already: 1 sample\n"
    for name, data in later.items():  # as of an extract that was running
        (tmp_path / "root" / name).write_bytes(data)
    assert run("erase", root) == 0
    assert "erase: 1 sample of 1 shard" in capsys.readouterr().out
    (tmp_path / "keys").write_text("k00006\n")
    assert run("remove", root, "--keys", str(tmp_path / "keys")) == 0
    capsys.readouterr()
    assert run("erase", root, "--dry-run", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [record[name] for name in ("samples", "shards", "rows", "erased_before")] == [1, 1, 1, 1]


def test_what_is_not_made_yet_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    toy_dataset(root, 8, 4, color=False)
    for name in ("json", "tar", "rows.parquet"):
        (root / f"images/000000.{name}").unlink()
    (tmp_path / "keys").write_text("k00001\n")
    assert run("remove", str(root), "--keys", str(tmp_path / "keys")) == 0
    assert run("erase", str(root)) == 3
    out, err = capsys.readouterr()
    assert "erase: what was removed is not made yet, so there is nothing to erase" in out
    assert err.endswith("removed, but not made yet: 1 row; run ingest, then erase again\n")


def test_a_damaged_shard_ends_with_its_name_and_no_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    toy_dataset(root, 8, 4, color=False)
    (tmp_path / "keys").write_text("k00001\nk00007\n")
    assert run("remove", str(root), "--keys", str(tmp_path / "keys")) == 0
    (root / "images/000000.tar").write_bytes(b"")
    assert run("erase", str(root)) == 3
    out, err = capsys.readouterr()
    assert "1 sample of 1 shard, in images, sketch, and 1 row of the plan, erased; run again for the rest" in out
    assert "images/000000.tar: must have" in err
    assert "tombstones/000001.erased.json" not in contents(root)
