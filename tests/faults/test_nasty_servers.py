"""Servers that misbehave: each ends in time, in bounded memory, with its own reason."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from t2i_shards.pipeline.download.client import GuardedClient
from tests.faults.hostile import CAP, NASTY, PICTURE, SECONDS, SLOW, Server, answer, end_of, guard_for


@pytest.fixture
def server() -> Iterator[Server]:
    with Server({"/ok": answer()}) as server:
        yield server


@pytest.mark.parametrize("name", NASTY)
def test_each_ends_in_time_with_its_own_reason(server: Server, name: str) -> None:
    seconds = SECONDS if name in SLOW else 20.0
    client = guard_for(server, url_seconds=seconds)
    started = time.monotonic()
    assert end_of(client, f"{server.url}/{name}") == NASTY[name].reason
    assert time.monotonic() - started < seconds + 1


@pytest.mark.parametrize("name", [name for name in NASTY if name.startswith(("endless", "large", "bomb", "neg"))])
def test_memory_grows_by_less_than_twice_the_cap(server: Server, name: str) -> None:
    client = guard_for(server)
    client.fetch(f"{server.url}/ok")
    peak, end = traced(client, f"{server.url}/{name}")
    assert end == NASTY[name].reason
    assert peak < (2 << 20 if name.startswith("bomb") else 2 * CAP)


@pytest.mark.parametrize(
    "headers", [{}, {"Content_Length": ""}, {"Content_Length": "", "Transfer_Encoding": "chunked"}]
)
def test_so_it_does_for_a_picture_as_large_as_may_be(server: Server, headers: dict[str, str]) -> None:
    body = bytes(CAP)
    sent = body if "Transfer_Encoding" not in headers else b"%x\r\n" % CAP + body + b"\r\n0\r\n\r\n"
    server.ways["/large-enough"] = answer(sent, **headers)
    peak, end = traced(guard_for(server), f"{server.url}/large-enough")
    assert end == body
    assert peak < 2 * CAP


def traced(client: GuardedClient, url: str) -> tuple[int, str | bytes]:
    """The most bytes that were held at once, and the end of it."""
    gc.collect()
    tracemalloc.start()
    try:
        end = end_of(client, url)
        return tracemalloc.get_traced_memory()[1], end
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["bomb", "bomb-transfer"])
def test_a_bomb_is_not_unpacked(server: Server, name: str) -> None:
    client = guard_for(server)
    client.fetch(f"{server.url}/ok")
    started = time.thread_time()  # of this thread alone, whatever else the machine does
    assert end_of(client, f"{server.url}/{name}") == "refused: encoded"
    assert time.thread_time() - started < 0.05


def test_a_byte_over_the_cap_is_too_large(server: Server) -> None:
    server.ways["/just"] = answer(bytes(1000), Content_Length="")
    server.ways["/over"] = answer(bytes(1001), Content_Length="")
    server.ways["/over-sized"] = answer(bytes(1001))
    for name, body in (("just", bytes(1000)), ("over", bytes(1001))):
        chunks = b"1f4\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:500], len(body) - 500, body[500:])
        server.ways[f"/{name}-chunked"] = answer(chunks, Content_Length="", Transfer_Encoding="chunked")
    client = guard_for(server, picture_bytes=1000)
    assert end_of(client, f"{server.url}/just") == end_of(client, f"{server.url}/just-chunked") == bytes(1000)
    for name in ("over", "over-sized", "over-chunked"):
        assert end_of(client, f"{server.url}/{name}") == "too large"


def test_an_unannounced_cut_gives_the_bytes_so_far(server: Server) -> None:
    """Without a length the end of the connection is the end of the picture; the decoder notices that it is cut."""
    server.ways["/short"] = answer(PICTURE[:1000], Content_Length="")
    assert guard_for(server).fetch(f"{server.url}/short") == PICTURE[:1000]


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "text/plain", "image/x-whatever", "nonsense;;"])
def test_odd_types_are_looked_at_all_the_same(server: Server, kind: str) -> None:
    server.ways["/odd"] = answer(Content_Type=kind)
    assert guard_for(server).fetch(f"{server.url}/odd") == PICTURE
