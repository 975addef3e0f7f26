"""The cache is shared by the processes of a machine, and their deaths block no other."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.pipeline.stream.cached import Far

Processes: TypeAlias = list[subprocess.Popen[str]]
CHECKOUT = Path(__file__).parents[3]


# A process that loads shard 0 and says when; with a gate, the origin answers when that file is there.
LOADER = """
import os, sys, time
from pathlib import Path
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.stream.cache import ShardCache
from t2i_shards.pipeline.stream.index import Vouched
from tests.pipeline.stream.toys import Origin

folder, gate, child = Path(sys.argv[1]), Path(sys.argv[2]), len(sys.argv) > 3

class Gated(Origin):
    def load(self, path):
        data = super().load(path)
        if child and os.fork() == 0:
            sys.stdin.read()  # as a loader's worker, for as long as its parent
            os._exit(0)
        while not gate.exists():
            time.sleep(0.01)
        return data

receipt = Receipt.decode((folder / "origin/images/000000.json").read_bytes(), "")
shard = Vouched("images/000000.tar", receipt.bytes, receipt.sha256, receipt.samples)
cache = ShardCache(Gated(folder / "origin", folder / "log"), folder / "cache", 3 * receipt.bytes)
print("begins", flush=True)
opened = cache.open(shard)
print(opened.entries[1].key, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def processes() -> Iterator[Processes]:
    started: Processes = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def load_elsewhere(far: Far, gate: Path, processes: Processes, *more: str) -> subprocess.Popen[str]:
    """Another process that begins to load shard 0."""
    command = [sys.executable, "-c", LOADER, str(far.origin.log.parent), str(gate), *more]
    pipe = subprocess.PIPE
    processes.append(subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True))
    assert read_line(processes[-1]) == "begins"
    return processes[-1]


def read_line(process: subprocess.Popen[str]) -> str:
    """Its next line; empty once it is dead. It is killed when it hangs for minutes."""
    assert process.stdout is not None
    ends = threading.Timer(300, process.kill)
    ends.start()
    line = process.stdout.readline().strip()
    ends.cancel()
    return line


def await_load(far: Far) -> None:
    limit = time.monotonic() + 600
    while not far.loads():
        assert time.monotonic() < limit, "nobody began to fetch"
        time.sleep(0.01)


def test_one_process_fetches_and_the_others_wait(far: Far, tmp_path: Path, processes: Processes) -> None:
    gate = tmp_path / "gate"
    loaders = [load_elsewhere(far, gate, processes) for _ in range(3)]
    await_load(far)
    gate.touch()
    assert [read_line(loader) for loader in loaders] == ["k01"] * 3
    assert far.loads() == [0]


def test_the_death_of_the_fetching_process_blocks_no_other(far: Far, tmp_path: Path, processes: Processes) -> None:
    dies = load_elsewhere(far, tmp_path / "never", processes)
    await_load(far)
    waits = load_elsewhere(far, tmp_path, processes)  # its gate is open
    dies.send_signal(signal.SIGKILL)
    assert read_line(waits) == "k01"
    assert far.loads() == [0, 0]


def test_files_that_another_process_uses_stay(far: Far, tmp_path: Path, processes: Processes) -> None:
    user = load_elsewhere(far, tmp_path, processes)
    assert read_line(user) == "k01"
    for shard in (1, 2, 3, 4):
        far.cache.open(far.vouched[shard])
        assert 0 in far.cached()
    user.kill()
    user.wait()
    for shard in (5, 1):
        far.cache.open(far.vouched[shard])
    assert 0 not in far.cached()


def test_a_child_that_was_forked_meanwhile_keeps_no_lock(far: Far, tmp_path: Path, processes: Processes) -> None:
    """A loader forks its workers whenever it likes; they live on with all that was open then."""
    parent = load_elsewhere(far, tmp_path, processes, "child")
    assert read_line(parent) == "k01"
    far.file(0).unlink()
    other = load_elsewhere(far, tmp_path, processes)
    assert read_line(other) == "k01"
    assert far.loads() == [0, 0]
