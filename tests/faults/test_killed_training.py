"""SIGKILL: of a training in one process, and of one of two workers. The adapter's bits are those of no kill."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from t2i_shards.adapters.model.diffusers_io import WEIGHTS
from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.runlog import read_log
from tests.faults.trainings import find_workers, make_scenes, start_command, steps_done, train_words

STEPS = 8


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with the scenes' own sketches."""
    return make_scenes(tmp_path_factory.mktemp("scenes") / "dataset")


@pytest.fixture(autouse=True)
def _nobody_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def _wait_for(what: Callable[[], object]) -> None:
    limit = time.monotonic() + 300
    while not what():
        assert time.monotonic() < limit, "never came"
        time.sleep(0.005)


def _assert_same(out: Path, undisturbed: Path) -> None:
    adapters = [(run / "adapter" / WEIGHTS).read_bytes() for run in (out, undisturbed)]
    assert adapters[0] == adapters[1]
    told = [
        [(line.step, line.loss, line.validation) for line in read_log(run / "log.jsonl")]
        for run in (out, undisturbed)
    ]
    assert told[0] == told[1]


def test_a_killed_training_resumes_to_the_same_bits(scenes: Path, tmp_path: Path) -> None:
    assert run(train_words(scenes, tmp_path / "undisturbed", STEPS)) == 0
    words = train_words(scenes, tmp_path / "run", STEPS)
    step = random.randrange(STEPS // 2)
    process = start_command(words)
    _wait_for(lambda: steps_done(tmp_path / "run") >= step)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended before it was killed; nothing was tested"
    assert not (tmp_path / "run" / "adapter").exists()
    assert run(words) == 0
    _assert_same(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.soak
def test_workers_end_with_the_command(scenes: Path, tmp_path: Path) -> None:
    """Otherwise they would keep writing to RUN while the workers of the next command do so too."""
    words = [*train_words(scenes, tmp_path, steps=10_000), "--workers", "2", "--engine", "local"]
    command = start_command(words)
    _wait_for(lambda: steps_done(tmp_path) >= 0)
    assert len(find_workers()) >= 3
    command.kill()
    _wait_for(lambda: not find_workers())


@contextmanager
def _kill_one(out: Path) -> Iterator[list[int]]:
    """SIGKILL one of the workers at a random step. Who was killed."""
    step, killed = random.randrange(1, STEPS // 2), []

    def kill() -> None:
        _wait_for(lambda: steps_done(out) >= step)
        victim = random.choice(find_workers())
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    killer = threading.Thread(target=kill)
    killer.start()
    yield killed
    killer.join()


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.soak)])
def test_a_killed_worker_costs_no_bit(
    engine: str,
    scenes: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_address")
    out = tmp_path / "run"
    options = ["--workers", "2", "--engine", engine]
    assert run([*train_words(scenes, tmp_path / "undisturbed", STEPS), *options]) == 0
    capfd.readouterr()

    words = [*train_words(scenes, out, STEPS), *options]
    with _kill_one(out) as killed:
        assert run([*words, "--retries", "1"]) == 0
    assert len(killed) == 1
    (warning,) = [message for message in caplog.messages if "all start again from step" in message]
    assert warning.startswith("worker ")
    said, err = capfd.readouterr()
    assert said.startswith(f"train: {STEPS} steps, {STEPS} of them now; ")
    assert said.count("\n") == 1, "what Ray prints of a death is no part of the summary"
    assert "Traceback" not in err
    # In the worker that is left, libraries may say that the other is gone.
    lines = [line for line in err.splitlines() if line.startswith("train: ")]
    assert lines.pop(0).startswith("train: base tiny")
    assert [line for line in lines if not line.startswith("train: step ")] == []
    told = [line.split(",")[0] for line in lines if "validation loss" in line]  # a slow run has lines in between
    assert told == [f"train: step {step} of {STEPS}" for step in range(0, STEPS + 1, 2)], "each once, and no more"
    _assert_same(out, tmp_path / "undisturbed")


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_worker_that_dies_once_too_often_ends_it_and_the_same_command_resumes(
    engine: str, scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_address")
    out = tmp_path / "run"
    words = [*train_words(scenes, out, STEPS), "--workers", "2", "--engine", engine, "--retries", "0"]
    with _kill_one(out):
        assert run(words) == 3
    said, err = capfd.readouterr()
    assert said == ""
    # Ray has a line of its own for the death.
    lines = [line for line in err.splitlines() if not line.startswith("train: ") and "(raylet)" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("t2i-shards: worker ")
    assert lines[0].endswith("and the same command continues from there")
    assert run(words) == 0
    assert run([*train_words(scenes, tmp_path / "undisturbed", STEPS), *words[-6:]]) == 0
    _assert_same(out, tmp_path / "undisturbed")
