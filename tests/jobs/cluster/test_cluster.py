"""A real cluster of two nodes on this machine: token authentication, `ray job submit`, and the manifest."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
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
import yaml

from t2i_shards.extractors.registry import EXTRACTORS
from t2i_shards.jobs.__main__ import parse
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.download.shard import Downloads
from t2i_shards.pipeline.engine.nodes import count_node_slots
from tests.conftest import ray_folder

REPOSITORY = Path(__file__).parents[3]
MANIFEST = REPOSITORY / "jobs" / "cluster" / "rayjob.yaml"
DOCKERFILE = MANIFEST.with_name("Dockerfile")
RAY = (sys.executable, "-m", "ray.scripts.scripts")


@dataclass(frozen=True)
class Cluster:
    """Where the dashboard listens, and the environment of one who may use it."""

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
    """Comes round ten times a second until the node has died or ten minutes have passed."""
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        yield
        time.sleep(0.1)
    pytest.fail(f"a node did not start: {log.read_text()[-2000:]}")


def end(processes: list[subprocess.Popen[bytes]], home: Path) -> None:
    """End the nodes and all that came of them, workers and drivers among it, and nothing else.

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


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(MANIFEST.read_text())
    return document


def test_the_manifest_runs_a_command_that_exists(manifest: dict[str, Any]) -> None:
    python, dash_m, module, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    assert (python, dash_m, module) == ("python", "-m", "t2i_shards")
    command = parse(arguments)
    assert isinstance(command, ExtractCommand)
    assert set(command.conditions) <= set(EXTRACTORS)
    assert command.engine.engine == "ray"
    assert "://" in command.root, "the pods share no disk"


def test_the_manifest_says_how_a_job_ends(manifest: dict[str, Any]) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    spec = manifest["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert 0 < spec["backoffLimit"] <= 3
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def pods_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of each kind of pod."""
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"]["spec"] for group in cluster["workerGroupSpecs"]}
    submitter = manifest["spec"]["submitterPodTemplate"]["spec"]
    return {"head": cluster["headGroupSpec"]["template"]["spec"], "submitter": submitter, **groups}


def containers_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [container for pod in pods_of(manifest).values() for container in pod["containers"]]


def test_no_pod_can_do_more_than_it_must(manifest: dict[str, Any]) -> None:
    for pod in pods_of(manifest).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers_of(manifest):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_stores_secret_is_where_the_store_is_read(manifest: dict[str, Any]) -> None:
    """The driver runs on the head, and workers read and write shards; the submitter does neither."""
    holding = {
        name
        for name, pod in pods_of(manifest).items()
        if any("secretRef" in source for container in pod["containers"] for source in container.get("envFrom", []))
    }
    assert holding == {"head", "cpu", "gpu"}
    assert "secretKeyRef" not in MANIFEST.read_text()


def test_the_image_has_a_digest_a_user_and_no_compiler(manifest: dict[str, Any]) -> None:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    (base,) = [line for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    user = pods_of(manifest)["head"]["securityContext"]["runAsUser"]
    assert [line for line in lines if line.startswith("USER ")] == [f"USER {user}:{user}"]
    assert any(f"useradd --uid {user} " in line for line in lines)
    installed = " ".join(line for line in lines if "install" in line)
    assert not re.search(r"\b(gcc|g\+\+|clang|make|cargo|build-essential|\S+-dev)\b", installed)
    assert all("--only-binary :all:" in line or "--no-index" in line for line in lines if "pip install" in line)


def memory_of(container: Any) -> int:
    gibibytes: str = container["resources"]["limits"]["memory"]
    return int(gibibytes.removesuffix("Gi")) << 30


def test_the_manifest_has_a_head_without_work_and_two_groups(manifest: dict[str, Any]) -> None:
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    for name, group in groups.items():
        (container,) = group["template"]["spec"]["containers"]
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert ("nvidia.com/gpu" in limits) == (name == "gpu")
        assert limits["memory"] == requests["memory"], "Ray takes the limit for what there is"
    (container,) = groups["cpu"]["template"]["spec"]["containers"]
    pod = {"CPU": int(container["resources"]["limits"]["cpu"]), "memory": memory_of(container)}
    assert count_node_slots(pod, Downloads().resources) == 2 * pod["CPU"], (
        "memory for a download on every half core"
    )
    images = {container["image"] for container in containers_of(manifest)}
    assert len(images) == 1, "one image, so that all have the same packages"
    assert f"ray=={cluster['rayVersion']} " in (REPOSITORY / "requirements.txt").read_text()
