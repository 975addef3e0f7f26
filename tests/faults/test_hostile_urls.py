"""URLs that try to lead a downloader astray: each ends with its reason, and nothing on loopback is contacted."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from t2i_shards.pipeline.download import hosts as hosts_module
from t2i_shards.pipeline.download.client import GuardedClient
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.reasons import FetchError, kind_of, reason_of
from tests.faults.hostile import PICTURE, Server, answer, end_of, redirect
from tests.faults.hostile_urls import CASES, FRONT, NAMES, RELATIVE


@dataclass
class Net:
    """A canary on every loopback address, a server in place of the internet, and limits that reach it."""

    canary: Server
    canary6: Server
    front: Server
    limits: Limits

    @property
    def touched(self) -> int:
        return self.canary.connections + self.canary6.connections


@pytest.fixture
def net() -> Iterator[Net]:
    ways = {"/x.jpg": answer()}
    with Server(ways) as canary, Server(ways, "::1", canary.port) as canary6, Server(ways, FRONT) as front:
        ports = (80, 443, canary.port, front.port)
        yield Net(canary, canary6, front, Limits(ports=ports, url_seconds=5, attempts=1, allow_private=(FRONT,)))


@pytest.fixture
def client(net: Net) -> GuardedClient:
    return GuardedClient(net.limits, NAMES.__getitem__)


def reason_for(client: GuardedClient, url: str) -> str:
    with pytest.raises(FetchError) as caught:
        client.open(url)
    return str(caught.value)


def test_corpus_is_as_large_as_it_was() -> None:
    assert len({url for url, _ in CASES}) == len(CASES) >= 40


def test_every_hostile_url_has_its_reason_and_reaches_nothing(net: Net, client: GuardedClient) -> None:
    found = [(url, reason_for(client, url.replace("{p}", str(net.canary.port)))) for url, _ in CASES]
    assert found == CASES
    assert {kind_of(reason) for _, reason in found} == {"refused"}
    assert net.touched == 0


def test_urllib_ends_the_same_way(net: Net, client: GuardedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "_opener", None)
    client.install()
    for url, reason in CASES:
        with pytest.raises((OSError, ValueError)) as caught:
            urllib.request.urlopen(urllib.request.Request(url.replace("{p}", str(net.canary.port))), timeout=5)
        assert reason_of(str(caught.value)) == reason, url
    assert net.touched == 0


def test_the_canary_would_notice(net: Net) -> None:
    """Without the guard these reach it, so that 0 connections proves something."""
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    hosts = ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "[::ffff:127.0.0.1]", "[::1]"]
    for number, host in enumerate(hosts, 1):
        plain.open(f"http://{host}:{net.canary.port}/x.jpg").close()
        assert net.touched == number


def test_a_redirect_to_a_hostile_url_ends_as_the_url_itself(net: Net, client: GuardedClient) -> None:
    for number, (url, reason) in enumerate(CASES):
        if reason == "refused: url" or url.startswith(RELATIVE) or url in ("", "http://"):
            continue  # cannot be sent in a header, or is relative to the redirecting URL
        net.front.ways[f"/{number}"] = redirect(url.replace("{p}", str(net.canary.port)))
        assert reason_for(client, f"http://public.example:{net.front.port}/{number}") == reason, url
    assert net.front.connections > 80
    assert net.touched == 0


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_every_kind_of_redirect_is_checked_again(net: Net, client: GuardedClient, status: str) -> None:
    start = f"http://public.example:{net.front.port}/start"
    net.front.ways["/start"] = redirect(f"//127.0.0.1:{net.canary.port}/x.jpg", status)
    assert reason_for(client, start) == "refused: address"
    net.front.ways["/start"] = redirect("x.jpg", status)
    assert client.fetch(start) == PICTURE
    assert net.touched == 0


def test_a_url_and_a_location_have_a_limit(net: Net, client: GuardedClient) -> None:
    start = f"http://public.example:{net.front.port}/start"
    for length, end in ((8000, PICTURE), (9000, "refused: url")):
        path = f"/x.jpg?{'y' * (length - len(start))}"
        net.front.ways |= {"/start": redirect(path), path: answer()}
        assert end_of(client, start) == end
        assert end_of(client, start.replace("/start", path)) == end


def test_three_redirects_are_followed_and_a_fourth_is_not(net: Net, client: GuardedClient) -> None:
    net.front.ways.update({f"/{n}": redirect(f"/{n - 1}") for n in range(2, 5)} | {"/1": redirect("/x.jpg")})
    assert client.fetch(f"http://public.example:{net.front.port}/3") == PICTURE
    seen = net.front.connections
    assert reason_for(client, f"http://public.example:{net.front.port}/4") == "refused: redirects"
    assert net.front.connections == seen + 4


def test_a_name_is_looked_up_once_for_check_and_connection(net: Net) -> None:
    """A name that answers the front's address first and loopback ever after: the second answer is never asked for,
    and when it is, a minute later, it is refused."""
    answers = [[FRONT], ["127.0.0.1"], ["127.0.0.1"]]
    client = GuardedClient(net.limits, lambda _: answers.pop(0))
    assert client.fetch(f"http://rebind.example:{net.front.port}/x.jpg") == PICTURE
    assert len(answers) == 2
    assert reason_for(client, f"http://rebind.example:{net.canary.port}/x.jpg") == "connection failed"
    assert len(answers) == 2
    assert net.touched == 0


def test_a_later_answer_is_checked_like_the_first(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "ADDRESS_SECONDS", 0.0)
    answers = [[FRONT], ["127.0.0.1"]]
    client = GuardedClient(net.limits, lambda _: answers.pop(0))
    assert client.fetch(f"http://rebind.example:{net.front.port}/x.jpg") == PICTURE
    assert reason_for(client, f"http://rebind.example:{net.canary.port}/x.jpg") == "refused: address"
    assert not answers
    assert net.touched == 0


def test_many_requests_for_a_host_are_one_look_up(net: Net) -> None:
    asked: list[str] = []
    together = threading.Barrier(8)

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return [FRONT]

    client = GuardedClient(net.limits, resolve)

    def fetch() -> None:
        together.wait()
        for _ in range(5):
            client.fetch(f"http://many.example:{net.front.port}/x.jpg")

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["many.example"]
    assert net.front.connections == 40


def test_nothing_of_the_environment_is_sent(
    net: Net, client: GuardedClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = f"http://127.0.0.1:{net.canary.port}"
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    net.front.ways["/cookie"] = answer(Set_Cookie="a=b")
    monkeypatch.setattr(urllib.request, "_opener", None)
    client.install()
    headers = {"User-Agent": "Mozilla/5.0", "Cookie": "c=d", "Authorization": "Basic c2VjcmV0"}
    for path in ("cookie", "x.jpg"):
        url = f"http://public.example:{net.front.port}/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:
            assert response.read() == PICTURE
    for head, path in zip(net.front.heads, ("cookie", "x.jpg"), strict=True):
        lines = head.strip().split("\r\n")
        assert lines[0] == f"GET /{path} HTTP/1.1"
        assert lines[2].startswith("User-Agent: t2i-shards/")
        assert [line.split(":")[0] for line in lines[1:]] == [
            "Host",
            "User-Agent",
            "Accept-Encoding",
            "Connection",
        ]
    assert net.touched == 0


def test_only_plain_gets_are_made(net: Net, client: GuardedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "_opener", None)
    client.install()
    url = f"http://public.example:{net.front.port}/x.jpg"
    for data, method in [(b"x", None), (None, "HEAD"), (None, "DELETE")]:
        with pytest.raises(FetchError, match=r"^refused: method$"):
            urllib.request.urlopen(urllib.request.Request(url, data=data, method=method))
    with pytest.raises(FetchError, match=r"^refused: method$"):
        urllib.request.urlopen(url, data=b"x")
    assert net.front.connections == 0


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://bücher.example:{p}/x.jpg", "GET /x.jpg HTTP/1.1"),
        ("http://b\u00dccher\u3002example:{p}/x.jpg", "GET /x.jpg HTTP/1.1"),
        ("HTTP://PUBLIC.example.:{p}/x.jpg#part", "GET /x.jpg HTTP/1.1"),
        ("  http://public.example:{p}/x.jpg?a=1&b=ü c ", "GET /x.jpg?a=1&b=%C3%BC%20c HTTP/1.1"),
        (
            "http://public.example:{p}/x.jpg?u=http://127.0.0.1/%41\\",
            "GET /x.jpg?u=http://127.0.0.1/%41%5C HTTP/1.1",
        ),
    ],
)
def test_honest_urls_get_through(net: Net, client: GuardedClient, url: str, line: str) -> None:
    assert client.fetch(url.replace("{p}", str(net.front.port))) == PICTURE
    host = "xn--bcher-kva" if "cher" in url.split("/")[2] else "public"
    assert net.front.heads[0].split("\r\n")[:2] == [line, f"Host: {host}.example:{net.front.port}"]
