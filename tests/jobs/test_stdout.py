"""Standard output holds the summary alone, whatever libraries print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
