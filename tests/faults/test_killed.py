"""SIGKILL of workers and of drivers: every sample once, and no finished shard done again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from t2i_shards.extractors.registry import EXTRACTORS
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.engine import RunResult, run
from t2i_shards.pipeline.engine.run import Engine
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.roll_up import verify_roll_ups
from tests.faults.drive import drive, finish, start
from tests.faults.toys import (
    Logged,
    Pictures,
    begun,
    digests,
    extract_here,
    make_images,
    problems,
    read_log,
    shrink_roll_ups,
)

SHARDS, SHARD_SIZE = 24, 40


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with 24 shards of 40 pictures."""
    root = tmp_path_factory.mktemp("pictures") / "dataset"
    make_images(root, Pictures(SHARDS * SHARD_SIZE), SHARD_SIZE)
    return root


@pytest.fixture(scope="module")
def undisturbed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests after a run without faults and without an engine."""
    root = tmp_path_factory.mktemp("undisturbed") / "dataset"
    shutil.copytree(pictures, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXTRACTORS, "toy", {"slow": "tests.faults.toys:Toy"})
        extract_here(Dataset.open(str(root)), "slow")
    return digests(root)


@pytest.fixture
def root(pictures: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pictures, tmp_path / "dataset"))


def wait_for(what: Callable[[], bool], alive: Callable[[], bool] = lambda: True) -> None:
    """Until it is true; the limit only ends a test that hangs."""
    limit = time.monotonic() + 600
    while not what():
        assert alive(), "ended before what was waited for"
        assert time.monotonic() < limit, "never came"
        time.sleep(0.01)


def kill_workers(log: Path, times: int, alive: Callable[[], bool]) -> None:
    """SIGKILL a random one of the workers at work, `times` times, each after two more shards were finished."""
    rng = random.Random(7)
    for _ in range(times):
        finished = sum(note.what == "end" for note in read_log(log))
        wait_for(partial(_has_finished, log, finished + 2), alive)
        wait_for(partial(_kill_one, log, rng), alive)


def _kill_one(log: Path, rng: random.Random) -> bool:
    """SIGKILL a worker in the midst of a shard; False when none was, or it ended its shard just then."""
    at_work = _at_work(log)
    if not at_work:
        return False
    victim = rng.choice(at_work)
    with suppress(ProcessLookupError):
        # A stopped worker cannot finish its shard between the check and the kill.
        os.kill(victim, signal.SIGSTOP)
        wait_for(lambda: _state(victim) in "TZ")
        if victim in _at_work(log):
            os.kill(victim, signal.SIGKILL)
            return True
        os.kill(victim, signal.SIGCONT)
    return False


def _has_finished(log: Path, shards: int) -> bool:
    return sum(note.what == "end" for note in read_log(log)) >= shards


def _at_work(log: Path) -> list[int]:
    """The workers that have begun a shard and not ended it."""
    latest = {note.pid: note for note in read_log(log)}
    return [pid for pid, note in latest.items() if note.what == "begin" and _lives(pid)]


def _state(pid: int) -> str:
    """R, S, D, T (stopped) or Z (dead, and Z too when nothing is left of it), as proc(5) has them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def _lives(pid: int) -> bool:
    return _state(pid) != "Z"


def run_with_kills(root: Path, log: Path, engine: Engine, kills: int) -> RunResult:
    stage = Logged(plan_extract(Dataset.open(str(root)), ["toy"], variant="slow"), str(log))
    outcomes: list[RunResult] = []
    runner = threading.Thread(target=lambda: outcomes.append(run(stage, range(SHARDS), engine, 2)))
    runner.start()
    try:
        kill_workers(log, kills, runner.is_alive)
    finally:
        runner.join(600)
    return outcomes[0]


def assert_whole(root: Path, undisturbed: dict[str, str]) -> None:
    assert problems(root) == []
    assert digests(root) == undisturbed
    dataset = Dataset.open(str(root))
    for shard in dataset.shards:
        planned = [row.key for row in dataset.plan(shard)]
        assert [sample.key for sample in dataset.load("toy", shard)] == planned
    assert not list((root / "toy").glob("*.tar.*"))


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.soak)])
def test_five_killed_workers_cost_at_most_a_shard_each(
    engine: Engine, root: Path, undisturbed: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_address")
    log = tmp_path / "log"
    result = run_with_kills(root, log, engine, kills=5)
    assert result.quarantined == {}
    assert sorted(result.made) == list(range(SHARDS))
    assert result.attempts.total() == 5
    assert SHARDS < len(begun(log)) <= SHARDS + 5
    assert result.samples == {"toy": SHARDS * SHARD_SIZE}
    assert_whole(root, undisturbed)


def written(path: Path) -> tuple[int, int]:
    """Which file it is, and when it was written; reading it changes neither."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns


def test_a_killed_driver_loses_no_finished_shard(
    engine: str, root: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the roll-up of each thousand that was whole, here of three shards."""
    shrink_roll_ups(monkeypatch, 3)
    dataset = Dataset.open(str(root))
    first, second = tmp_path / "first", tmp_path / "second"
    options = {"variant": "slow", "workers": 2, "engine": engine, "thousand": 3}
    driver = start("extract", root, log=first, linger=0.4, **options)
    wait_for(lambda: len(list((root / "toy").glob("0*.json"))) >= 4, lambda: driver.poll() is None)
    wait_for(lambda: bool(dataset.roll_ups("toy")), lambda: driver.poll() is None)
    driver.kill()
    driver.communicate()
    # A worker that has lost its driver ends, on Ray at once, else with the shard it is at.
    wait_for(lambda: not any(_lives(note.pid) for note in read_log(first)))
    receipts = {path: written(path) for path in (root / "toy").glob("0*.json")}
    assert 4 <= len(receipts) < SHARDS
    assert verify_roll_ups(dataset, {}) == []
    roll_ups = dataset.roll_ups("toy")

    assert drive("extract", root, log=second, **options)[0] == 0
    finished, again = {int(path.stem) for path in receipts}, [shard for shard in begun(second) if shard >= 0]
    assert sorted([*finished, *again]) == list(range(SHARDS))
    assert set(roll_ups) < set(dataset.roll_ups("toy"))
    assert [one.first for one in dataset.roll_ups("toy")] == list(range(0, SHARDS, 3))
    assert verify_roll_ups(dataset, {}) == []
    assert all(written(path) == before for path, before in receipts.items())
    assert_whole(root, undisturbed)


def test_an_interrupted_driver_says_so_and_resumes(
    root: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """Control-C reaches the driver and its workers."""
    first, second = tmp_path / "first", tmp_path / "second"
    driver = start("extract", root, log=first, linger=0.4, variant="slow", workers=2)
    wait_for(lambda: len(list((root / "toy").glob("0*.json"))) >= 3, lambda: driver.poll() is None)
    os.killpg(driver.pid, signal.SIGINT)
    code, out, err = finish(driver)
    assert (code, out) == (130, "")
    assert err == "t2i-shards: interrupted; the same command continues from here\n"
    finished = {int(path.stem) for path in (root / "toy").glob("0*.json")}
    assert drive("extract", root, log=second, variant="slow", workers=2)[0] == 0
    assert not finished & set(begun(second))
    assert_whole(root, undisturbed)


def test_two_drivers_at_once_both_succeed(root: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    logs, meeting = [tmp_path / "one", tmp_path / "two"], tmp_path / "meeting"
    meeting.mkdir()
    drivers = [start("extract", root, log=log, meeting=meeting, variant="slow", workers=1) for log in logs]
    for driver in drivers:
        code, _, err = finish(driver)
        assert (code, err) == (0, "")
    assert begun(logs[0])[0] == begun(logs[1])[0] == 0, "they never met; nothing was tested"
    names = sorted(path.name for path in (root / "toy").iterdir())
    shards = [f"{shard:06d}.{end}" for shard in range(SHARDS) for end in ("json", "tar")]
    assert names == sorted(["column.json", "config.toml", *shards])
    assert_whole(root, undisturbed)
