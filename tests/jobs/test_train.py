"""The command: one process, several on this machine, Ray Train, torchrun. Workers: see test_distributed.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree, disk_usage
from typing import Any

import pytest

from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.adapters.run_folder import hold_run
from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.train import TrainWorkers
from t2i_shards.pipeline.runlog import read_log
from tests.faults.trainings import train_words
from tests.jobs.addresses import watch_addresses
from tests.pipeline.stream.toys import send
from tests.pipeline.weak_line import weak_line

pytestmark = pytest.mark.usefixtures("nobody_launched")

REPOSITORY = Path(__file__).parents[2]


def _bits(out: Path) -> bytes:
    return (out / "adapter" / WEIGHTS).read_bytes()


def _losses(out: Path) -> list[float | None]:
    return [line.loss for line in read_log(out / "log.jsonl")]


def test_the_summary_is_one_line_or_json(alone: Path, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(train_words(scenes, alone)) == 0
    said = capsys.readouterr().out
    assert said.startswith("train: 4 steps, 0 of them now; validation loss 0.")
    assert "of them waiting for data; the base is unchanged" in said
    assert said.count("\n") == 1
    assert run([*train_words(scenes, alone), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["command"] == "train"
    assert 0 <= record["wait"] <= 1


def test_two_workers_of_this_machine_equal_one(
    alone: Path, scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = train_words(scenes, tmp_path / "run")
    with watch_addresses() as listening:
        assert run([*words, "--workers", "2", "--engine", "local"]) == 0
    assert listening == {"127.0.0.1"}, "nobody else can reach where the workers meet"
    out, err = capfd.readouterr()
    assert out.startswith("train: 4 steps, 4 of them now; ")
    assert out.count("\n") == 1, "one of them tells"
    begun, *steps = err.splitlines()
    assert begun == "train: base tiny, adapter tiny, cpu, fp32, 22 samples, 2 held out, 4 steps = 0.727 epochs"
    assert [line.split(",")[0] for line in steps] == [f"train: step {step} of 4" for step in (0, 2, 4)]
    assert _losses(tmp_path / "run")[1:] == pytest.approx(_losses(alone)[1:], abs=1e-5)

    # What a worker finds wrong ends as if it had been found here.
    assert run([*words, "--workers", "2", "--engine", "local", "--lr", "1"]) == 2
    line = f"t2i-shards: {tmp_path}/run was begun with lr 0.001, and this command asks for 1.0: "
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.soak
def test_a_line_that_fails_costs_no_bit_and_one_that_stays_dead_is_one_line(
    alone: Path,
    scenes: Path,
    bucket: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.WAITS", (0.0,) * 4)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    far = send(scenes, f"{bucket}/root").root
    with weak_line(os.environ["AWS_ENDPOINT_URL"]) as (address, line):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        line.fails = lambda method, path, before: "503" if before < 2 else None
        words = train_words(Path("far"), tmp_path / "run")
        words[1:2] = [far, "--cache", str(tmp_path / "cache")]
        assert run(words) == 0
        assert _bits(tmp_path / "run") == _bits(alone)
        assert line.failed["503"] > 12
        capfd.readouterr()

        line.fails = lambda method, path, before: "503" if path.endswith("000004.tar") else None
        assert run([*words, "--cache", str(tmp_path / "other"), "--steps", "8"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = (line for line in err.splitlines() if not line.startswith("train: "))
    assert line.startswith(f"t2i-shards: cannot read {far}/")
    assert re.search(r"/000004\.tar: tried 5 times in \d+ s; the last error: ", line)


@pytest.mark.soak
def test_ray_train_trains_the_same_bits_as_this_machines_workers(
    ray_address: str, scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for engine in ("ray", "local"):
        words = train_words(scenes, tmp_path / engine)
        assert run([*words, "--workers", "2", "--engine", engine]) == 0
        assert capfd.readouterr().out.startswith("train: 4 steps, 4 of them now; ")
    assert _bits(tmp_path / "ray") == _bits(tmp_path / "local")
    assert _losses(tmp_path / "ray") == _losses(tmp_path / "local")

    words = train_words(scenes, tmp_path / "ray")
    assert run([*words, "--workers", "2", "--lr", "1"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "was begun with lr 0.001, and this command asks for 1.0" in err

    assert run([*words, "--workers", "8", "--batch", "8"]) == 2
    assert "--workers 8 need a core each, and this cluster has 4" in capfd.readouterr().err


@pytest.mark.soak
def test_eight_workers_of_four_loaders_equal_one(scenes: Path, tmp_path: Path) -> None:
    """Forty processes, and the same batches."""
    for name, world in {"alone": "--loaders 0", "many": "--workers 8 --loaders 4 --engine local"}.items():
        assert run([*train_words(scenes, tmp_path / name), "--batch", "8", *world.split()]) == 0
    assert _losses(tmp_path / "many")[1:] == pytest.approx(_losses(tmp_path / "alone")[1:], abs=1e-5)


@pytest.mark.soak
def test_one_worker_goes_to_the_cluster_that_is_named(
    ray_address: str, alone: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    assert run(train_words(scenes, tmp_path / "run")) == 0
    assert _bits(tmp_path / "run") == _bits(alone)


@pytest.mark.soak
def test_torchrun_runs_the_command_in_each_process(scenes: Path, tmp_path: Path, alone: Path) -> None:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "t2i_shards",
    ]
    ended = subprocess.run(
        [*launcher, *train_words(scenes, tmp_path / "run")],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("train: 4 steps, 4 of them now; ")
    assert ended.stdout.count("\n") == 1
    assert ended.stderr.count("train: step") == 3
    assert _losses(tmp_path / "run")[1:] == pytest.approx(_losses(alone)[1:], abs=1e-5)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--batch 3 --workers 2", "--batch must be a multiple of the 2 workers, not 3"),
        ("--workers 2 --micro-batch 3", "--micro-batch must divide the 2 samples of a worker, and 3 does not"),
        ("--workers 0", "--workers must be at least 1, not 0"),
        ("--retries -1", "--retries must not be below 0, not -1"),
        ("--workers 2 --column none", "has no column 'none'"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_started(
    scenes: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    line: str,
) -> None:
    monkeypatch.setattr("t2i_shards.jobs.launch.keep_trying", lambda *_: pytest.fail("started"))
    assert run([*train_words(scenes, tmp_path / "run"), *words.split()]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_workers_are_not_started_by_those_that_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert run("train data --condition sketch --base mini --out run --workers 2".split()) == 2
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    assert not TrainWorkers().apart


@pytest.mark.parametrize(("rank", "said"), [("0", 1), ("1", 0)])
def test_of_those_that_torchrun_started_the_first_prints_the_summary(
    alone: Path,
    scenes: Path,
    rank: str,
    said: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", rank)
    assert run(train_words(scenes, alone)) == 0
    assert capsys.readouterr().out.count("train: ") == said


def test_who_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(**options: Any) -> bool:
        return TrainWorkers(**options).apart

    assert not apart()
    assert apart(workers=2)
    assert apart(workers=2, engine="local")
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    assert apart()
    assert not apart(engine="local")


def test_the_help_waits_for_no_large_library() -> None:
    code = (
        "import sys, t2i_shards.jobs.__main__ as m\n"
        "try: m.parse(['train', '--help'])\n"
        "finally: print(sorted({'torch', 'ray', 'pandas', 'diffusers', 'transformers'} & sys.modules.keys()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0
    assert ended.stdout.endswith("[]\n")
    assert "--retries" in ended.stdout


def test_a_full_disk_is_one_line_and_ruins_no_older_file(
    alone: Path, scenes: Path, disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
    for place in (disk, tmp_path):
        copytree(alone, place / "run")
    (disk / "ballast").write_bytes(bytes(disk_usage(disk).free - 40_000))  # the log fits, no checkpoint does
    old = [path for path in sorted((disk / "run").rglob("*")) if path.is_file()]
    old = [path for path in old if path.name not in ("log.jsonl", "config.toml")]  # which this command writes
    before = [path.read_bytes() for path in old]
    words = train_words(scenes, disk / "run", steps=6)
    capfd.readouterr()
    assert run(words) == 3
    out, err = capfd.readouterr()
    assert out == ""
    *shown, line = err.splitlines()
    assert all(other.startswith("train: ") for other in shown)
    assert re.fullmatch(
        r"t2i-shards: cannot write \S+: No space left on device; nothing that is done is lost", line
    )
    assert [path.read_bytes() for path in old] == before
    assert not list((disk / "run").rglob("*.part"))

    (disk / "ballast").unlink()
    assert run(words) == run(train_words(scenes, tmp_path / "run", steps=6)) == 0
    assert _bits(disk / "run") == _bits(tmp_path / "run")


def test_two_trainings_of_one_run_are_not_let_in(
    alone: Path,
    scenes: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("t2i_shards.adapters.run_folder.LOCK_SECONDS", 0)
    out = tmp_path / "run"
    copytree(alone, out)
    capfd.readouterr()
    with hold_run(out):
        assert run(train_words(scenes, out, steps=6)) == 2
    assert capfd.readouterr().err == (
        f"t2i-shards: another train is running in {out}: wait until it ends, or give another --out\n"
    )
