"""Ctrl-C, which a terminal sends to every process of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.trainings import make_scenes, train_words

CHECKOUT = Path(__file__).parents[2]


def heed_interrupts() -> None:
    """What is started in the background of a shell ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def starting(pid: int) -> int:
    """How many loaders the process has started, from their first moment on."""
    children = psutil.Process(pid).children(recursive=True)
    return sum("spawn_main" in " ".join(child.cmdline()) for child in children)


@pytest.mark.soak
def test_a_training_whose_loaders_are_starting_ends_in_one_line(tmp_path: Path) -> None:
    root, out = make_scenes(tmp_path / "root"), tmp_path / "run"
    words = [*train_words(root, out, steps=1_000_000), "--loaders", "2"]
    command = [sys.executable, "-m", "t2i_shards", *words]
    with open(tmp_path / "said", "w+b") as said:
        training = subprocess.Popen(
            command, cwd=CHECKOUT, stderr=said, start_new_session=True, preexec_fn=heed_interrupts
        )
        try:
            limit = time.monotonic() + 300
            while starting(training.pid) < 2:
                assert training.poll() is None, said.seek(0) or said.read()
                assert time.monotonic() < limit
                time.sleep(0.05)
            os.killpg(training.pid, signal.SIGINT)
            assert training.wait(120) == 130
        finally:
            if training.poll() is None:
                os.killpg(training.pid, signal.SIGKILL)
    lines = (tmp_path / "said").read_text().splitlines()
    others = [line for line in lines if not line.startswith(("train: step ", "train: base "))]
    assert others == ["t2i-shards: interrupted; the same command continues from here"]
