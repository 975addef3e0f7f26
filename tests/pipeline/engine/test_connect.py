"""Which Ray is joined and which is not; only its own command reaches the one that it starts."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from t2i_shards.pipeline.engine import connect
from t2i_shards.pipeline.engine.connect import GREETING, SETTINGS, check_address, find_own_ray, keep_token_private
from t2i_shards.pipeline.errors import RequestError

REPOSITORY = Path(__file__).parents[3]
NOBODY = 65534

STARTED = """
import json, sys
from t2i_shards.pipeline.engine.connect import connect
connect()
import ray

@ray.remote(num_cpus=0)
class Worker:
    def ready(self):
        return True

worker = Worker.remote()
ray.get(worker.ready.remote())
print(json.dumps(ray.get_runtime_context().gcs_address), flush=True)
sys.stdin.read()
"""

STRANGER = """
import os, sys
address, token, user = sys.argv[1:]
from ray._raylet import GcsClient
os.environ["HOME"] = "/nonexistent"
if token:
    os.environ["RAY_AUTH_TOKEN"] = token
os.environ["RAY_AUTH_MODE"] = "token" if token else "disabled"
os.setgroups([])
os.setuid(int(user))
from ray._raylet import Config
Config.initialize("")
print(len(GcsClient(address=address).get_all_node_info(timeout=10)), "nodes")
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[psutil.Process, str, Path]]:
    """(process, HOST:PORT, HOME) of a command that has started a Ray of its own."""
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED],
        env=environment | {"HOME": str(home)},
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdin
    line = process.stdout.readline()
    assert line, "no Ray was started"
    yield psutil.Process(process.pid), json.loads(line), home
    process.stdin.close()
    process.wait(60)


def listening(process: psutil.Process) -> dict[int, str]:
    """port -> address of every socket that the process or one below it listens on."""
    everyone = [process, *process.children(recursive=True)]
    found = [one for some in everyone for one in some.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    return {one.laddr.port: one.laddr.ip.removeprefix("::ffff:") for one in found}


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_all_its_ports_are_on_loopback_alone(started: tuple[psutil.Process, str, Path]) -> None:
    process, address, _ = started
    ports = listening(process)
    assert int(address.rpartition(":")[2]) in ports
    assert len(ports) >= 5
    assert set(ports.values()) == {"127.0.0.1"}
    # From another address of this machine: what listens on all of them would answer here too.
    assert all(answers("127.0.0.1", port) for port in ports)
    assert not any(answers("127.0.0.2", port) for port in ports)


def test_its_token_is_this_users_alone(started: tuple[psutil.Process, str, Path]) -> None:
    process, _, home = started
    assert stat.S_IMODE((home / ".ray" / "auth_token").stat().st_mode) == 0o600
    raylets = [child for child in process.children(recursive=True) if child.name() in ("gcs_server", "raylet")]
    assert len(raylets) >= 2
    assert {child.environ().get("RAY_AUTH_MODE") for child in raylets} == {"token"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_is_refused_without_the_token(started: tuple[psutil.Process, str, Path]) -> None:
    _, address, home = started
    token = (home / ".ray" / "auth_token").read_text()

    def ask(token: str, user: int) -> Any:
        command = [sys.executable, "-c", STRANGER, address, token, str(user)]
        return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)

    assert ask(token, NOBODY).stdout == "1 nodes\n"
    for wrong in ("", "0" * 64):
        refused = ask(wrong, NOBODY)
        assert refused.returncode != 0
        assert refused.stdout == ""
        assert "nauthenticated" in refused.stderr or "token" in refused.stderr


def test_a_ray_that_answers_is_accepted(started: tuple[psutil.Process, str, Path]) -> None:
    check_address(started[1])


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `ray start` notes the address of the Ray of this machine."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_the_ray_of_another_user_is_not_joined(started: tuple[psutil.Process, str, Path], note: Path) -> None:
    assert find_own_ray() is None
    note.write_text(started[1])
    assert find_own_ray() == started[1]
    note.rename(note.with_name("theirs"))
    note.symlink_to("theirs")
    assert find_own_ray() is None
    note.unlink()
    note.with_name("theirs").rename(note)
    if os.getuid():
        pytest.skip("only root can give a file to another user")
    os.chown(note, NOBODY, NOBODY)
    assert find_own_ray() is None


def test_a_ray_that_has_ended_is_not_joined(note: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        note.write_text(f"127.0.0.1:{free.getsockname()[1]}")
        assert find_own_ray() is None


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """HOST:PORT of a server that answers one connection so."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def settle(connection: socket.socket) -> None:
    assert connection.recv(len(GREETING)) == GREETING
    connection.sendall(bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]))


def http(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hang_up(connection: socket.socket) -> None:
    connection.recv(100)


def say_nothing(connection: socket.socket) -> None:
    connection.recv(100)
    time.sleep(1)


def test_a_server_of_grpc_is_tried() -> None:
    with serving(settle) as address:
        check_address(address)


@pytest.mark.parametrize("answer", [http, hang_up, say_nothing])
def test_another_server_is_refused(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "TIMEOUT", 0.5)
    with serving(answer) as address, pytest.raises(RequestError, match=rf"RAY_ADDRESS must be .*{address}"):
        check_address(address)


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:8265", "https://example.org", "127.0.0.1", "127.0.0.1:", "[::1]:x", "[::1]:0"],
)
def test_an_address_of_no_ray_is_one_line(address: str) -> None:
    with pytest.raises(RequestError, match=r"^RAY_ADDRESS must be HOST:PORT of a Ray that runs") as refusal:
        check_address(address)
    assert address in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "auto"])
def test_a_command_with_such_an_address_ends_with_2(address: str, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    (tmp_path / "picture.txt").write_text("a picture")
    ended = subprocess.run(
        [sys.executable, "-m", "t2i_shards", "ingest", "folder", str(tmp_path), "--out", str(tmp_path / "root")],
        env=os.environ | {"RAY_ADDRESS": address, "RAY_TMPDIR": str(tmp_path)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith("t2i-shards: RAY_ADDRESS")
    assert "Traceback" not in ended.stderr


def test_a_token_that_others_may_read_is_closed_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    token = tmp_path / ".ray" / "auth_token"
    keep_token_private()
    made = token.read_text()
    assert len(made) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    token.chmod(0o644)
    keep_token_private()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == made


def test_no_token_is_made_where_one_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    keep_token_private()
    assert list(tmp_path.iterdir()) == []
