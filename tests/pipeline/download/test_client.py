"""What many downloads share: a host's connections and addresses, a shard's bytes and seconds."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from t2i_shards.pipeline.download.client import GuardedClient
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.reasons import FetchError
from tests.faults.hostile import PICTURE, SECONDS, Server, answer, end_of, guard_for


def test_connections_to_a_host_at_once(server: Server) -> None:
    """No more than the limit, and all of it where there is enough to do."""
    met, lock = threading.Barrier(3), threading.Lock()
    inside, most = 0, 0

    def meet(connection: socket.socket, head: str) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        met.wait(10)
        with lock:
            inside -= 1
        answer()(connection, head)

    server.ways["/meet"] = meet
    client = guard_for(server, host_connections=3)
    ends: list[str | bytes] = []
    threads = [
        threading.Thread(target=lambda: ends.append(end_of(client, f"{server.url}/meet"))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [PICTURE] * 12
    assert most == 3


def test_waiting_for_a_connection_counts(server: Server) -> None:
    client = guard_for(server, host_connections=1, url_seconds=1.5)
    patient = threading.Thread(target=end_of, args=(client, f"{server.url}/silent"))
    patient.start()
    while not server.connections:
        time.sleep(0.01)
    with pytest.raises(FetchError, match=r"^timed out$"):
        client.open(f"{server.url}/ok", timeout=0.2)
    patient.join()
    assert server.connections == 1


def test_a_shard_has_so_many_bytes(server: Server) -> None:
    """Ten pictures' worth: the eleventh is not begun, and a new shard starts afresh."""
    client = guard_for(server, shard_bytes=10 * len(PICTURE))
    ends = [end_of(client, f"{server.url}/ok") for _ in range(12)]
    assert ends[:9] == [PICTURE] * 9  # headers count too, so the tenth is cut short
    assert ends[9:] == ["shard budget spent"] * 3
    assert server.connections == 10
    client.begin_shard()
    assert end_of(client, f"{server.url}/ok") == PICTURE


def test_a_shard_has_so_many_seconds(server: Server, slept: list[float]) -> None:
    client = guard_for(server, shard_seconds=100)
    slept.append(99)
    assert end_of(client, f"{server.url}/ok") == PICTURE
    slept.append(1)
    assert end_of(client, f"{server.url}/ok") == "shard budget spent"
    assert server.connections == 1
    client.begin_shard()
    assert end_of(client, f"{server.url}/ok") == PICTURE


def test_a_shard_that_ends_amid_a_download_says_so(server: Server) -> None:
    assert end_of(guard_for(server, shard_seconds=0.3), f"{server.url}/drip-body") == "shard budget spent"


def test_a_name_that_no_server_answers_for_ends_in_time(server: Server) -> None:
    """The system's look-up knows no time-out; ten of them delay neither each other nor other hosts."""
    hung = threading.Event()

    def resolve(host: str) -> list[str]:
        if host.startswith("silent"):
            hung.wait(30)
        return ["127.0.0.1"]

    client = GuardedClient(Limits(ports=(server.port,), allow_private=("127.0.0.1",)), resolve)
    ends: list[str] = []

    def fetch(number: int) -> None:
        with pytest.raises(FetchError) as caught:
            client.open(f"http://silent{number % 5}.example:{server.port}/ok", timeout=SECONDS)
        ends.append(str(caught.value))

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(10)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    assert end_of(client, f"http://quick.example:{server.port}/ok") == PICTURE
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < SECONDS + 1
    hung.set()
    assert ends == ["timed out"] * 10


def test_names_without_addresses(server: Server) -> None:
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        if host == "none.example":
            raise OSError("Name or service not known")
        return []

    client = GuardedClient(Limits(ports=(server.port,), attempts=3), resolve)
    for host in ("none.example", "empty.example"):
        for _ in range(3):
            assert end_of(client, f"http://{host}:{server.port}/ok") == "name not resolved"
    assert asked == ["none.example", "empty.example"]


def test_the_next_address_is_tried(server: Server) -> None:
    limits = Limits(ports=(server.port,), allow_private=("127.0.0.0/8",))
    client = GuardedClient(limits, lambda _: ["127.0.0.9", "127.0.0.1"])
    assert end_of(client, f"http://two.example:{server.port}/ok") == PICTURE
    client = GuardedClient(limits, lambda _: ["127.0.0.8", "127.0.0.9"])
    assert end_of(client, f"http://two.example:{server.port}/ok") == "connection failed"


def test_an_address_of_a_family_the_machine_lacks(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where IPv6 is switched off, or no file is left for a socket: a passing failure, or the next address."""
    real = socket.socket

    def make(family: int, *given: int, **named: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *given, **named)

    monkeypatch.setattr("t2i_shards.pipeline.download.connection.socket.socket", make)
    limits = Limits(ports=(server.port,), allow_private=("127.0.0.1", "::1"), attempts=1)
    assert (
        end_of(GuardedClient(limits, lambda _: ["::1", "127.0.0.1"]), f"http://x.example:{server.port}/ok")
        == PICTURE
    )
    assert (
        end_of(GuardedClient(limits, lambda _: ["::1"]), f"http://x.example:{server.port}/ok")
        == "connection failed"
    )


def test_ipv6_is_spoken() -> None:
    with Server({"/ok": answer()}, "::1") as server:
        client = GuardedClient(Limits(ports=(server.port,), allow_private=("::1",)))
        assert client.fetch(f"{server.url}/ok") == PICTURE
        assert f"Host: [::1]:{server.port}" in server.heads[0]


@pytest.mark.parametrize("others", [(), ("127.0.0.9",)])
def test_a_host_that_takes_no_connection_ends_in_time(others: tuple[str, ...]) -> None:
    """A full queue of connections drops what knocks, as a firewall does; another address gets half of the time."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        knocking = [socket.socket() for _ in range(8)]
        for one in knocking:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        limits = Limits(ports=(port,), allow_private=("127.0.0.0/8",), url_seconds=SECONDS, attempts=1)
        client = GuardedClient(limits, lambda _: ["127.0.0.1", *others])
        started = time.monotonic()
        end = end_of(client, f"http://full.example:{port}/ok")
        assert time.monotonic() - started < SECONDS + 1
        assert end == ("connection failed" if others else "timed out")
        for one in knocking:
            one.close()
