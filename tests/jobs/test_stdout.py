"""Standard output holds the summary alone, whatever libraries print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from t2i_shards.jobs.command import Summary, execute

CHECKOUT = Path(__file__).parents[2]


class Loud:
    """A command that prints, as libraries do, in a thread as well."""

    json = True

    def run(self) -> Summary:
        import os
        import threading

        print("of a library")
        thread = threading.Thread(target=print, args=("of a thread",))
        thread.start()
        thread.join()
        os.write(1, b"of C\n")
        os.system("echo of a process")
        return Summary("line", {"command": "loud"})


SCRIPT = """
import atexit, sys
import t2i_shards.jobs.__main__ as entry
from tests.jobs.test_stdout import Loud
entry.parse = lambda arguments: Loud()
atexit.register(print, "on the way out")
sys.argv = ["t2i-shards"]
entry.main()
"""


def test_prints_of_libraries_go_to_standard_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=CHECKOUT, capture_output=True, text=True, timeout=600, check=True
    )
    assert json.loads(done.stdout) == {"command": "loud", "problems": []}
    assert sorted(done.stderr.splitlines()) == [
        "of C",
        "of a library",
        "of a process",
        "of a thread",
        "on the way out",
    ]


def test_standard_output_is_given_back() -> None:
    before = sys.stdout
    execute(Loud())
    assert sys.stdout is before


@pytest.mark.parametrize("words", ["--help", "train --help", "--version", "--tyro-print-completion bash"])
def test_an_answer_that_cannot_be_written(words: str) -> None:
    command = [sys.executable, "-m", "t2i_shards", *words.split()]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT, timeout=600)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].endswith("cannot write to standard output: No space left on device")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr

    reader, writer = os.pipe()
    os.close(reader)  # as `| head` does once it has what it wants
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT, timeout=600)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
