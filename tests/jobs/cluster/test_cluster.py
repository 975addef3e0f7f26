"""A real cluster of two nodes on this machine: token authentication, and `ray job submit`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from tests.conftest import ray_folder

REPOSITORY = Path(__file__).parents[3]
RAY = (sys.executable, "-m", "ray.scripts.scripts")


@dataclass(frozen=True)
class Cluster:
    """Where the dashboard listens, and the environment of a user who has its token."""

    dashboard: str
    environment: Mapping[str, str]
    checkout: Path
    session: Path

    def submit(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [*RAY, "job", "submit", "--address", self.dashboard, *arguments]
        return subprocess.run(
            command,
            env={**self.environment, **environment},
            cwd=self.checkout,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def ask(self, path: str, token: str | None) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with urllib.request.urlopen(urllib.request.Request(self.dashboard + path, headers=headers)) as answer:
            return json.load(answer)


def free_ports(count: int) -> list[int]:
    """Ports that are free now, above those Ray hands to its workers (10002-19999)."""
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def start_node(log: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    room = ("--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000")
    quiet = ("--include-log-monitor=false", "--dashboard-agent-listen-port=0")
    with open(log, "wb") as out:
        return subprocess.Popen(
            [*RAY, "start", "--block", *room, *quiet, *arguments],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in wait_for(process, log):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return


def await_start(process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in wait_for(process, log):
        if "Ray runtime started" in log.read_text():
            return


def wait_for(process: subprocess.Popen[bytes], log: Path) -> Iterator[None]:
    """Yields ten times a second until the node has died or ten minutes have passed."""
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        yield
        time.sleep(0.1)
    pytest.fail(f"a node did not start: {log.read_text()[-2000:]}")


def end(processes: list[subprocess.Popen[bytes]], home: Path) -> None:
    """End the nodes and every process they started, workers and drivers included, and nothing else.

    Not `ray stop`, which ends every Ray on the host. What left the group still has the HOME of this cluster.
    """
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pid in processes_at_home(home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes_at_home(home: Path) -> list[int]:
    mark, found = f"HOME={home}".encode(), []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return found


def copy_checkout(folder: Path) -> Path:
    """The packages as a clone has them, with an environment and runs next to them that must not be uploaded."""
    for package in ("adapters", "extractors", "jobs", "pipeline"):
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "t2i_shards", folder / "t2i_shards", symlinks=True)
    shutil.copy(REPOSITORY / ".gitignore", folder)
    for heavy in (".venv", "runs"):
        (folder / heavy).mkdir()
        (folder / heavy / "heavy.bin").write_bytes(b"heavy")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("home")
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text(secrets.token_hex(32))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "HOME": os.fspath(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "NO_COLOR": "1",
    }
    gcs, dashboard, client = free_ports(3)
    # A folder for each node: in a shared one the second unpacks the working directory over the first, whose
    # driver misses a file then.
    head_log, node_log = home / "head.log", home / "node.log"
    nodes: list[subprocess.Popen[bytes]] = []
    with ray_folder() as session:
        try:
            ports = (f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}")
            nodes.append(start_node(head_log, environment, "--head", *ports, f"--temp-dir={session / 'a'}"))
            await_port(nodes[0], gcs, head_log)
            join = (f"--address=127.0.0.1:{gcs}", f"--temp-dir={session / 'b'}")
            nodes.append(start_node(node_log, environment, *join))
            for node, log in zip(nodes, (head_log, node_log), strict=True):
                await_start(node, log)
            checkout = copy_checkout(tmp_path_factory.mktemp("checkout"))
            yield Cluster(f"http://127.0.0.1:{dashboard}", environment, checkout, session)
        finally:
            end(nodes, home)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures in four shards."""
    import cv2

    pictures, out = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("data") / "root"
    rng = np.random.default_rng(0)
    for index in range(8):
        cv2.imwrite(os.fspath(pictures / f"{index}.png"), rng.integers(0, 255, (96, 128, 3), dtype=np.uint8))
        (pictures / f"{index}.txt").write_text(f"noise number {index}")
    command = [
        sys.executable,
        "-m",
        "t2i_shards",
        "ingest",
        "folder",
        os.fspath(pictures),
        "--out",
        os.fspath(out),
    ]
    options = ["--shard-size", "2", "--size", "64", "--engine", "local", "--workers", "1"]
    subprocess.run([*command, *options], cwd=REPOSITORY, check=True, capture_output=True)
    return out


def test_a_submitted_job_finishes_on_two_nodes(cluster: Cluster, root: Path) -> None:
    command = ["python", "-m", "t2i_shards", "extract", os.fspath(root), "--conditions", "color", "--json"]
    done = cluster.submit("--working-dir", ".", "--", *command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert summary["made"] == 4
    assert summary["samples"] == {"color": 8}
    dataset = Dataset.open(os.fspath(root))
    assert dataset.left(["color"]) == []
    assert len(dataset.receipts("color")) == 4
    assert [len(dataset.load("color", shard)) for shard in dataset.shards] == [2] * 4
    # Each of the two nodes has an agent, and room for one worker at a time.
    token = (Path(cluster.environment["HOME"]) / ".ray" / "auth_token").read_text()
    actors = cluster.ask("/api/v0/actors?detail=1", token)["data"]["result"]["result"]
    agents = [actor["node_id"] for actor in actors if actor["class_name"] == "NodeAgent"]
    assert len(agents) == len(set(agents)) == 2
    nodes = cluster.ask("/api/v0/nodes", token)["data"]["result"]["result"]
    assert [node["resources_total"]["CPU"] for node in nodes if node["state"] == "ALIVE"] == [1.0, 1.0]
    # .gitignore decides what goes up: the code, not the environment nor the runs.
    uploaded = {path.name for path in cluster.session.glob("*/session_2*/runtime_resources/working_dir_files/*/*")}
    assert {"jobs", "pipeline", "extractors", "adapters", "t2i_shards"} <= uploaded
    assert not uploaded & {".venv", "runs", ".git"}


def test_without_the_token_nothing_runs(cluster: Cluster, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    done = cluster.submit("--", "touch", os.fspath(trace), RAY_AUTH_MODE="disabled")
    assert done.returncode == 1
    assert "AuthenticationError" in done.stderr
    for token, status in ((None, 401), (secrets.token_hex(32), 403)):
        with pytest.raises(urllib.error.HTTPError, match=str(status)):
            cluster.ask("/api/jobs/", token)
    assert not trace.exists()
