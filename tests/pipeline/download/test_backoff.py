"""Second tries, and hosts that ask clients to wait."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from t2i_shards.pipeline.download import backoff as seconds
from tests.faults.hostile import NASTY, PICTURE, Server, Way, answer, end_of, guard_for, in_turn, reset

BUSY = "429 Too Many Requests"


@pytest.mark.parametrize(
    ("first", "tries"),
    [
        (answer(b"", "503 Service Unavailable"), 2),
        (answer(b"", "500 Internal Server Error"), 2),
        (answer(b"", BUSY), 2),
        (answer(b"", BUSY, Retry_After="0"), 2),
        (answer(b"", BUSY, Retry_After=formatdate(0, usegmt=True)), 2),
        (answer(b"", BUSY, Retry_After="soon"), 2),
        (NASTY["hang-up"].way, 2),
        (NASTY["cut"].way, 2),
        (reset(b""), 2),
        (answer(b"", "404 Not Found"), 1),
        (answer(b"", "403 Forbidden"), 1),
        (NASTY["page"].way, 1),
        (NASTY["garbage"].way, 1),
        (NASTY["opted-out"].way, 1),
        (NASTY["bomb"].way, 1),
    ],
)
def test_what_may_pass_is_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, first: Way, tries: int
) -> None:
    monkeypatch.setattr(seconds, "BACK_OFF", 0.01)
    server.ways["/then"] = in_turn(first, answer())
    end = end_of(guard_for(server, attempts=3), f"{server.url}/then")
    assert (end == PICTURE) == (tries == 2)
    assert server.connections == tries


def test_attempts_are_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seconds, "BACK_OFF", 0.01)
    assert end_of(guard_for(server, attempts=3), f"{server.url}/broken") == "http 500"
    assert server.connections == 3


@pytest.mark.parametrize("status", [BUSY, "503 Service Unavailable"])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_kept_to(server: Server, slept: list[float], status: str, form: str) -> None:
    after = "20" if form == "seconds" else formatdate(time.time() + 20, usegmt=True)
    server.ways["/busy"] = in_turn(answer(b"", status, Retry_After=after), answer())
    assert guard_for(server, attempts=2, url_seconds=60).fetch(f"{server.url}/busy") == PICTURE
    assert 18 < sum(slept) < 21


@pytest.mark.parametrize("after", ["20", "100000", "9" * 400, formatdate(4e9, usegmt=True)])
def test_a_rest_beyond_the_deadline_is_not_waited_for(server: Server, slept: list[float], after: str) -> None:
    server.ways["/busy"] = in_turn(answer(b"", BUSY, Retry_After=after), answer())
    client = guard_for(server, attempts=3, url_seconds=15)
    assert end_of(client, f"{server.url}/busy") == "http 429"
    assert not slept
    assert server.connections == 1


def test_a_back_off_beyond_the_deadline_is_not_waited_for(
    server: Server, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason stays what the server said."""
    monkeypatch.setattr(seconds, "BACK_OFF", 60.0)
    assert end_of(guard_for(server, attempts=3, url_seconds=15), f"{server.url}/broken") == "http 500"
    assert not slept
    assert server.connections == 1


def test_the_whole_host_is_left_alone(server: Server, slept: list[float]) -> None:
    server.ways["/busy"] = answer(b"", BUSY, Retry_After="20")
    client = guard_for(server, attempts=3, url_seconds=15)
    assert end_of(client, f"{server.url}/busy") == "http 429"
    assert end_of(client, f"{server.url}/ok") == "http 429"  # asked for nothing
    assert server.connections == 1
    slept.append(6)
    assert end_of(client, f"{server.url}/ok") == PICTURE
    assert sum(slept) >= 20


def test_others_continue_while_one_waits_to_try_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait holds no connection: with a single one per host, the second picture overtakes the first."""
    waits, enough = threading.Event(), threading.Event()

    def wait(seconds: float) -> None:
        waits.set()
        enough.wait(20)

    monkeypatch.setattr("t2i_shards.pipeline.download.client.time", SimpleNamespace(sleep=wait))
    server.ways["/later"] = in_turn(NASTY["broken"].way, answer())
    client = guard_for(server, attempts=2, url_seconds=30, host_connections=1)
    first = threading.Thread(target=end_of, args=(client, f"{server.url}/later"))
    first.start()
    assert waits.wait(20)
    assert client.fetch(f"{server.url}/ok") == PICTURE
    assert [head.split()[1] for head in server.heads] == ["/later", "/ok"]
    enough.set()
    first.join()
    assert server.heads[2].startswith("GET /later ")
