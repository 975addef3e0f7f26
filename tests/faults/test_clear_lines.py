"""Each fault is reported in one clear line, with the right exit code, and nothing that is done is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.jobs.__main__ import run as run_command
from t2i_shards.jobs.command import EngineOptions, execute
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.status import StatusCommand
from t2i_shards.jobs.verify import VerifyCommand
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.stages import plan_extract
from tests.faults.drive import drive
from tests.faults.toys import Logged, Pictures, begun, digests, extract_here, make_images, problems

SHARDS, SHARD_SIZE = 6, 5
CURSED = 7  # in shard 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_images(tmp_path / "dataset", Pictures(SHARDS * SHARD_SIZE, cursed=(CURSED,)), SHARD_SIZE)
    return tmp_path / "dataset"


def one_line(err: str) -> str:
    """The only line of stderr, but for what a busy machine says of its progress after 15 s."""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines(keepends=True) if " shards after " not in line]
    assert len(lines) == 1, err
    return lines[0]


def read_keys(root: Path, column: str) -> list[str]:
    dataset = Dataset.open(str(root))
    return [sample.key for shard in sorted(dataset.done(column)) for sample in dataset.load(column, shard)]


def test_a_sample_on_which_the_extractor_raises(root: Path) -> None:
    code, out, err = drive("extract", root, variant="raises")
    assert code == 3
    assert (
        one_line(err)
        == "shard 000001: 1 sample failed, the first: toy: k00007: ValueError: this picture is cursed\n"
    )
    assert "toy 29 samples" in out
    assert "failed (ValueError) 1" in out
    assert read_keys(root, "toy") == [key for key in read_keys(root, "images") if key != "k00007"]
    assert problems(root) == []
    # It is known and counted, so there is nothing left to do.
    assert drive("extract", root, variant="raises")[0] == 0


def test_a_sample_on_which_the_worker_dies(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code, out, err = drive("extract", root, variant="dies", log=log, workers=2)
    assert code == 3
    assert one_line(err) == "shard 000001 set aside after 3 attempts: the worker died (exit code -9)\n"
    assert "5 of 6 shards done" in out
    assert begun(log).count(1) == 3
    assert problems(root) == ["toy/000001: missing"]


@pytest.mark.usefixtures("toy", "ray_address")
def test_a_sample_on_which_the_worker_dies_on_ray(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stage = Logged(plan_extract(Dataset.open(str(root)), ["toy"], variant="dies"), str(log))
    result = run(stage, range(SHARDS), "ray", 2)
    assert list(result.quarantined) == [1]
    assert result.problems[0].startswith("shard 000001 set aside after 3 attempts: the worker died (Actor")
    assert sorted(result.made) == [0, 2, 3, 4, 5]
    assert begun(log).count(1) == 3
    assert problems(root) == ["toy/000001: missing"]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("shard_size", [7, 40, 250])
@pytest.mark.parametrize("condition", ["broken", "toy,broken"])
def test_a_hundred_failures_in_a_row_stop_the_run(shard_size: int, condition: str, tmp_path: Path) -> None:
    root, log = tmp_path / "dataset", tmp_path / "log"
    dataset = make_images(root, Pictures(280), shard_size)
    stage = Logged(plan_extract(dataset, condition.split(",")), str(log))
    with pytest.raises(
        IncompleteError, match=r"^100 samples failed in a row, so the stage is broken; the last: broken: "
    ):
        run(stage, dataset.shards, "local", 1)
    # The worker may have begun the next before the driver heard of it.
    assert len(begun(log)) <= -(-100 // shard_size) + 1
    assert dataset.done("broken") == set()


def test_a_broken_stage_is_said_in_one_line(tmp_path: Path) -> None:
    make_images(tmp_path / "dataset", Pictures(120), 60)
    code, out, err = drive("extract", tmp_path / "dataset", condition="broken")
    assert (code, out) == (3, "")
    assert "100 samples failed in a row, so the stage is broken; the last: broken: k00" in one_line(err)


def test_a_file_that_may_not_grow(root: Path) -> None:
    """A quota (EFBIG, as EDQUOT or ENOSPC): no tar fits, so the run ends at the first."""
    images = digests(root)["images"]
    code, out, err = drive("extract", root, max_file=4000)
    assert (code, out) == (3, "")
    assert one_line(err) == "t2i-shards: cannot write: File too large; nothing that is done is lost\n"
    assert not list(root.glob("toy/0*"))
    assert not list(root.glob(".scratch/*"))
    assert drive("extract", root)[0] == 0
    assert problems(root) == []
    assert digests(root)["images"] == images
    assert len(read_keys(root, "toy")) == SHARDS * SHARD_SIZE


def test_a_full_disk(disk: Path, root: Path) -> None:
    small = Path(shutil.copytree(root, disk / "dataset"))
    (disk / "ballast").write_bytes(bytes(1 << 20)[: _free(disk) - 60_000])
    code, out, err = drive("extract", small)
    assert (code, out) == (3, "")
    assert one_line(err) == "t2i-shards: cannot write: No space left on device; nothing that is done is lost\n"
    done = {path.name: path.read_bytes() for path in small.glob("toy/0*.json")}
    assert 0 < len(done) < SHARDS, "the disk should hold some shards, not all"
    assert {path.stem for path in small.glob("toy/0*.tar")} >= {Path(name).stem for name in done}

    (disk / "ballast").unlink()
    assert drive("extract", small)[0] == 0
    assert problems(small) == []
    assert all((small / "toy" / name).read_bytes() == data for name, data in done.items())
    assert len(read_keys(small, "toy")) == SHARDS * SHARD_SIZE


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_bsize


def test_a_disk_that_is_full_from_the_start(disk: Path, root: Path) -> None:
    small = Path(shutil.copytree(root, disk / "dataset"))
    (disk / "ballast").write_bytes(bytes(_free(disk)))
    code, _, err = drive("extract", small)
    assert code == 3
    assert "No space left on device" in one_line(err)


def test_a_read_only_destination(disk: Path, root: Path) -> None:
    small = Path(shutil.copytree(root, disk / "dataset"))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, out, err = drive("extract", small)
    assert (code, out) == (2, "")
    line = one_line(err)
    assert line.startswith(f"t2i-shards: cannot write to {small}: ")
    assert "Read-only file system" in line
    assert drive("status", small)[0] == 0
    assert drive("verify", small)[0] == 0


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_destination_that_may_not_be_written(
    number: int, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Any, *_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), os.fspath(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    command = ExtractCommand(str(root), ("toy",), device="cpu", engine=EngineOptions("local", 1))
    shutil.rmtree(root / ".scratch", ignore_errors=True)
    assert execute(command) == 2
    assert one_line(capsys.readouterr().err).startswith(f"t2i-shards: cannot write to {root}: ")


def test_a_destination_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.png").write_bytes(b"")
    (tmp_path / "pictures" / "one.txt").write_text("a picture")
    (tmp_path / "file").write_text("")
    words = f"ingest folder {tmp_path}/pictures --out {tmp_path}/file --engine local"
    assert run_command(words.split()) == 2
    assert str(tmp_path / "file") in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("conditions", "skech", "no condition is called 'skech'; there are sketch, depth"),
        ("variant", "tiny", "toy has no variant 'tiny'; there are default, slow"),
        ("conditions", "toy skech", "no condition is called 'skech'; there are sketch, depth"),
        ("workers", "0", "--workers must be at least 1, not 0"),
    ],
)
@pytest.mark.usefixtures("toy")
def test_a_wrong_request_names_the_rule_and_the_value(
    option: str, value: str, rule: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"conditions": "toy", option: value}
    words = " ".join(f"--{name} {text}" for name, text in given.items())
    assert run_command(f"extract {root} {words} --engine local".split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert rule in one_line(err)
    assert not (root / "toy" / "column.json").exists() or option == "workers", "it was begun before it was refused"


DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "empty": lambda d: b"",
    "no JSON": lambda d: b"<html>",
    "not text": lambda d: b"\xff\xfe\x00",
    "cut": lambda d: json.dumps(d).encode()[:-20],
    "a list": lambda d: [1, 2],
    "null": lambda d: None,
    "another format": lambda d: d | {"format": 2},
    "no format": lambda d: {k: v for k, v in d.items() if k != "format"},
    "no shards": lambda d: {k: v for k, v in d.items() if k != "shards"},
    "no plan": lambda d: {k: v for k, v in d.items() if k != "plan"},
    "a field more": lambda d: d | {"colour": 1},
    "shards is text": lambda d: d | {"shards": "6"},
    "shards is negative": lambda d: d | {"shards": -1},
    "shards is true": lambda d: d | {"shards": True},
    "shard_size is null": lambda d: d | {"shard_size": None},
    "source is text": lambda d: d | {"source": "folder"},
    "source has no kind": lambda d: d | {"source": {}},
    "geometry is a list": lambda d: d | {"geometry": []},
    "plan is a number": lambda d: d | {"plan": 5},
    "samples is text": lambda d: d | {"samples": "many"},
}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_dataset_json(damage: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "dataset.json"
    damaged = DAMAGES[damage](json.loads(path.read_bytes()))
    path.unlink()
    path.write_bytes(damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode())
    before = sorted(root.rglob("*"))
    engine = EngineOptions("local", 1)
    for command in (
        StatusCommand(str(root)),
        VerifyCommand(str(root), engine),
        ExtractCommand(str(root), ("toy",), device="cpu", engine=engine),
    ):
        assert execute(command) == 2
        assert one_line(capsys.readouterr().err).startswith(f"t2i-shards: {path}: must ")
    assert sorted(root.rglob("*")) == before, "something was written to a dataset that cannot be read"


@pytest.mark.usefixtures("toy")
def test_a_damaged_column_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract_here(Dataset.open(str(root)))
    path = root / "toy" / "column.json"
    for damaged in (b"{", b"[]"):
        path.unlink()
        path.write_bytes(damaged)
        for command in (StatusCommand(str(root)), VerifyCommand(str(root), EngineOptions("local", 1))):
            assert execute(command) == 2
            assert str(path) in one_line(capsys.readouterr().err)


def test_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(f"extract {tmp_path}/nothing --conditions color --engine local".split()) == 2
    assert "this is not a dataset" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "nothing").exists()


def test_a_file_is_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("text")
    assert execute(StatusCommand(str(tmp_path / "file"))) == 2
    assert "file/dataset.json: not there; this is not a dataset" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("record", ["", "{", "[]", '{"column": "toy"}', None])
def test_a_damaged_receipt(record: str | None, root: Path, toy: str, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = Dataset.open(str(root))
    extract_here(dataset)
    path = root / "toy" / "000001.json"
    whole = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps(whole | {"drops": None}) if record is None else record)
    assert execute(VerifyCommand(str(root), EngineOptions("local", 1))) == 3
    assert "toy/000001.json: not a receipt" in one_line(capsys.readouterr().err)
    assert execute(StatusCommand(str(root))) == 3
    assert "toy/000001.json: not a receipt" in one_line(capsys.readouterr().err)
