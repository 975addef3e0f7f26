"""How a command ends where standard streams are closed, full or ASCII, and at Control-C while it starts."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.toys import Pictures, make_images

CHECKOUT = Path(__file__).parents[2]
JOBS = f"{shlex.quote(sys.executable)} -m t2i_shards"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("streams") / "r\u00f6\u00f6t"
    make_images(root, Pictures(4), 2)
    return root


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash; the exit code is that of the first command of its pipe."""
    return subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        (">&-", 0, []),
        ("<&- >&- 2>&-", 0, []),
        ("| true", 0, []),
        ("2>&1 | true", 0, []),
        (">/dev/full", 3, ["t2i-shards: cannot write to standard output: No space left on device"]),
    ],
)
def test_a_report_whose_output_is_closed(streams: str, code: int, said: list[str], root: Path) -> None:
    ended = shell(f"{JOBS} report {root} --quick --engine local {streams}")
    assert ended.returncode == code
    assert ended.stdout == b""
    assert ended.stderr.decode().splitlines() == said
    # The page did not get the file number of a closed stream, into which libraries print.
    assert (root / "report.html").read_text().endswith("</html>")


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", "2>&1 >&- | true"])
def test_a_refusal_whose_output_is_closed(streams: str, tmp_path: Path) -> None:
    ended = shell(f"{JOBS} status {tmp_path} {streams}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, b"", b"")


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("locale", [{"LC_ALL": "POSIX"}, ASCII])
def test_a_root_that_the_locale_cannot_write(locale: dict[str, str], root: Path) -> None:
    ended = shell(f"{JOBS} report {root} --quick --engine local", **locale)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(b"report: 1 dataset, 4 samples; open ")
    assert (root / "report.html").exists()
    ended = shell(f"{JOBS} status {root}-n\u00f6", **locale)
    assert (ended.returncode, ended.stdout) == (2, b"")
    [line] = ended.stderr.splitlines()
    assert line.startswith(b"t2i-shards: ")


def test_a_root_whose_name_is_no_text(root: Path, tmp_path: Path) -> None:
    strange = os.fsencode(tmp_path) + b"/by\xff"
    os.symlink(root, strange)
    ended = shell(f"{JOBS} report {shlex.quote(str(tmp_path))}/by$'\\xff' --quick --engine local")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"by\\udcff" in ended.stdout
    assert "by\\udcff" in (root / "report.html").read_text()


INTERRUPTED_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(name, *_):
        if name == "MODULE":
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize("module", ["tyro", "numpy", "t2i_shards.pipeline.engine", "t2i_shards.jobs.train"])
def test_control_c_while_modules_are_imported(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED_IMPORT.replace("MODULE", module))
    ended = interrupt("t2i_shards", "status", str(tmp_path), path=tmp_path)
    assert (ended.returncode, ended.stdout) == (130, ""), ended.stderr
    assert ended.stderr == "t2i-shards: interrupted; the same command continues from here\n"


def interrupt(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


INTERRUPTED = """
import os, signal
from t2i_shards.jobs import __main__ as command
from t2i_shards.jobs.command import execute

def wait():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10**6): pass

class Interrupted:
    __set_name__ = lambda *_: wait()

class Command:
    json = False
    run = lambda _: type("Enumeration", (), {"member": Interrupted()})

command.run = lambda _: RUN
command.main()
"""


@pytest.mark.parametrize(
    "run",
    [
        "exec('wait()')",  # as dataclasses do: Python then means to die by the signal, also where it was caught
        "Command().run()",  # as enums do: Python 3.11 raises RuntimeError
        "execute(Command())",
    ],
)
def test_control_c_where_python_makes_something_else_of_it(run: str, tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED.replace("RUN", run))
    ended = interrupt("interrupted", path=tmp_path)
    assert ended.stderr == "t2i-shards: interrupted; the same command continues from here\n"
    assert ended.returncode == 130


def test_control_c_at_a_terminal_while_workers_start(tmp_path: Path) -> None:
    """It reaches the command and its workers, and one line is printed."""
    words = ["ingest", "scenes", "--out", str(tmp_path / "root"), "--samples", "40", "--shard-size", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "t2i_shards", *words, "--engine", "local", "--workers", "2"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    driver = psutil.Process(process.pid)
    while not any("spawn_main" in " ".join(child.cmdline()) for child in driver.children()):
        time.sleep(0.02)
    time.sleep(0.3)
    workers = driver.children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (130, "")
    assert err == "t2i-shards: interrupted; the same command continues from here\n"
    assert not psutil.wait_procs(workers, timeout=60)[1]
