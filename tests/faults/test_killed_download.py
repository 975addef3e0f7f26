"""SIGKILL of workers and drivers in the middle of downloads of which three in ten fail: every row once."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import OK, decode_rows, rows_path
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.sample import Sample
from tests.faults.bad_web import WHEN_ASKED, serve, way_of
from tests.faults.drive import CHECKOUT
from tests.faults.toys import problems

EXPECTED = {
    "ok": OK,
    "http 404": "http 404",
    "http 503": "http 503",
    "http 429": "http 429",
    "drip": "timed out",
    "silence": "timed out",
    "cut": "cut off",
    "reset": "connection failed",
    "html": "not a picture",
    "tiny": "too small",
    "bomb": "too many pixels",
    "gzip": "refused: encoded",
    "private": "refused: address",
    "noai": "opted out: X-Robots-Tag",
    "endless": "too large",
    "broken": "truncated",
}


def host_of(number: int) -> str:
    """Pictures answered with 429 have a host of their own, because it is not contacted for as long as it asks."""
    return "127.0.0.2" if way_of(number) == "http 429" else "127.0.0.1"


def write_metadata(folder: Path, port: int, rows: int) -> str:
    folder.mkdir()
    columns = {
        "URL": [f"http://{host_of(i)}:{port}/{i}.jpg" for i in range(rows)],
        "TEXT": [f"picture {i}" for i in range(rows)],
    }
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    return str(folder / "*.parquet")


def start(metadata: str, root: Path, port: int, engine: str, workers: int) -> subprocess.Popen[str]:
    """The command as a user runs it, with this port of loopback allowed."""
    command = ["ingest", "laion", "--metadata", metadata, "--out", str(root), "--size", "64", "--shard-size", "50"]
    client = ["--allow-private", "127.0.0.0/8", "--ports", str(port), "--url-seconds", "2"]
    client += ["--attempts", "1", "--picture-bytes", "300000", "--host-connections", "32", "--threads", "16"]
    return subprocess.Popen(
        [sys.executable, "-m", "t2i_shards", *command, *client, "--engine", engine, "--workers", str(workers)],
        cwd=CHECKOUT,
        process_group=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers_of(driver: int) -> list[int]:
    """The processes that hold a stage."""
    with suppress(psutil.NoSuchProcess):
        return [p.pid for p in psutil.Process(driver).children(recursive=True) if _is_worker(p)]
    return []


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        line = " ".join(process.cmdline())
        return "spawn_main" in line or line.startswith("ray::Worker")
    return False


def kill_some(driver: subprocess.Popen[str], rows: int, kills: int) -> None:
    """SIGKILL a worker `kills` times and then the driver and all below it, each while a row is asked for.

    The rows are spread evenly. That of the driver is never answered, so its shard is not done.
    """
    rng = random.Random(3)

    def kill_worker() -> None:
        if workers := workers_of(driver.pid):
            kill([rng.choice(workers)])

    def kill_driver() -> None:
        kill([driver.pid, *(p.pid for p in psutil.Process(driver.pid).children(recursive=True))])

    for turn, act in enumerate([*[kill_worker] * kills, kill_driver], 1):
        WHEN_ASKED[answered(turn * rows // (kills + 2))] = act
    driver.wait()
    assert not WHEN_ASKED
    assert driver.returncode == -signal.SIGKILL


def kill(processes: Iterable[int]) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def answered(number: int) -> int:
    """The first picture from here on that is there."""
    return next(n for n in itertools.count(number) if way_of(n) == "ok")


def count_done(root: Path) -> int:
    return len(list((root / IMAGES).glob("??????.json")))


def outcomes(dataset: Dataset) -> Counter[tuple[str, str]]:
    """(key, status) of every row that a rows.parquet tells of."""
    found = Counter[tuple[str, str]]()
    for shard in dataset.shards:
        found.update((row["key"], row["status"]) for row in decode_rows(dataset.store.load(rows_path(shard))))
    return found


def samples(dataset: Dataset) -> dict[str, Sample]:
    return {s.key: s for shard in dataset.shards for s in dataset.load(IMAGES, shard)}


def check_killed(tmp_path: Path, rows: int, engine: str, workers: int, kills: int) -> None:
    with serve() as port:
        metadata = write_metadata(tmp_path / "metadata", port, rows)
        undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
        _, told = (process := start(metadata, undisturbed, port, engine, workers)).communicate()
        assert process.returncode == 0, told
        driver = start(metadata, killed, port, engine, workers)
        kill_some(driver, rows, kills)
        assert 0 < count_done(killed) < rows // 50
        _, told = (process := start(metadata, killed, port, engine, workers)).communicate()
        assert process.returncode == 0, told
    there, here = Dataset.open(str(undisturbed)), Dataset.open(str(killed))
    expected = Counter((f"{i:09d}", EXPECTED[way_of(i)]) for i in range(rows))
    assert outcomes(there) == expected
    assert outcomes(here) == expected
    for shard in here.shards:
        receipt = load_receipt(here.store, IMAGES, shard)
        assert receipt is not None
        assert receipt.samples + sum(receipt.drops.values()) == receipt.planned == len(here.plan(shard))
    mine, theirs = samples(here), samples(there)
    assert mine.keys() == theirs.keys()
    for key, sample in mine.items():
        assert {n: bytes(d) for n, d in sample.members.items()} == {
            n: bytes(d) for n, d in theirs[key].members.items()
        }
    assert json.loads(bytes(mine["000000000"].members["json"]))["captions"] == ["picture 0"]
    assert problems(killed) == []
    assert not here.store.names("drafts")


@pytest.mark.soak
def test_every_row_is_accounted_for_once(tmp_path: Path) -> None:
    check_killed(tmp_path, 300, "local", workers=1, kills=1)


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_every_row_of_two_thousand(tmp_path: Path, engine: str) -> None:
    check_killed(tmp_path, 2000, engine, workers=2, kills=6)
