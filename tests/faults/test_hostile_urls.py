"""URLs that want to lead a downloader astray: each ends with its reason, and nothing on loopback is touched."""

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

# {p} is the canary's port, which the limits allow: only the guard's look at the rest of the URL stands between.
REFUSED = {
    "refused: scheme": [
        "file:///etc/passwd",
        "file://127.0.0.1:{p}/etc/passwd",
        "local_file:///etc/passwd",
        "FILE:/etc/passwd",
        "data:image/png;base64,iVBORw0KGgo=",
        "ftp://127.0.0.1:{p}/x.jpg",
        "gopher://127.0.0.1:{p}/_GET%20/",
        "dict://127.0.0.1:{p}/d",
        "ldap://127.0.0.1:{p}/",
        "jar:http://127.0.0.1:{p}/!/x",
        "javascript:alert(1)",
        "url:http://127.0.0.1:{p}/",
        "ws://127.0.0.1:{p}/",
        "//127.0.0.1:{p}/x.jpg",
        "127.0.0.1:{p}/x.jpg",
        "/x.jpg",
        "",
    ],
    "refused: address": [
        "http://127.0.0.1:{p}/x.jpg",
        "HTTP://127.0.0.1:{p}/x.jpg",
        "https://127.0.0.1:{p}/x.jpg",
        "http://127.0.0.1.:{p}/",
        "http://127.1:{p}/",
        "http://127.0.1:{p}/",
        "http://2130706433:{p}/",
        "http://017700000001:{p}/",
        "http://0x7f000001:{p}/",
        "http://0x7f.1:{p}/",
        "http://0X7F.0.0.1:{p}/",
        "http://0177.0.0.1:{p}/",
        "http://127.0.0.1.0x:{p}/",
        "http://00000127.0.0.1:{p}/",
        "http://%31%32%37.0.0.1:{p}/",
        "http://0.0.0.0:{p}/",
        "http://0:{p}/",
        "http://127.127.127.127:{p}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://198.18.0.1/",
        "http://192.0.2.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::1]:{p}/",
        "http://[0:0:0:0:0:0:0:1]:{p}/",
        "http://[::]:{p}/",
        "http://[::ffff:127.0.0.1]:{p}/",
        "http://[::ffff:7f00:1]:{p}/",
        "http://[::127.0.0.1]:{p}/",
        "http://[64:ff9b::7f00:1]:{p}/",
        "http://[64:ff9b::10.0.0.1]:{p}/",
        "http://[64:ff9b:1::7f00:1]:{p}/",
        "http://[2002:7f00:1::]:{p}/",
        "http://[2001:0:7f00:1::]:{p}/",
        "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]:{p}/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]:{p}/",
        "http://[fec0::1]:{p}/",
        "http://[ff02::1]:{p}/",
        "http://[2001:db8::1]:{p}/",
        "http://１２７.０.０.１:{p}/",
        "http://127。0｡0．1:{p}/",
        "http://①②⑦.⓪.⓪.①:{p}/",
        "http://localhost:{p}/",
        "http://localhost.:{p}/",
        "http://LocalHost:{p}/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{p}/",
        "http://loop.example:{p}/",
        "http://mapped.example:{p}/",
        "http://mixed.example:{p}/",
        "http://mixed-last.example:{p}/",
        "http://odd.example:{p}/",
        "http://127.0.0.1:{p}#@public.example/",
        "http://127.0.0.1:{p}?@public.example/",
    ],
    "refused: credentials": [
        "http://user@127.0.0.1:{p}/",
        "http://user:secret@127.0.0.1:{p}/",
        "http://public.example@127.0.0.1:{p}/",
        "http://127.0.0.1:{p}@public.example/",
        "http://public.example\\@127.0.0.1:{p}/",
        "http://@127.0.0.1:{p}/",
    ],
    "refused: host": [
        "http://",
        "http:///x.jpg",
        "http://:{p}/",
        "http:127.0.0.1:{p}/",
        "http:/127.0.0.1:{p}/",
        "http:\\\\127.0.0.1:{p}\\",
        "http://127.0.0.1\\.public.example:{p}/",
        "http://127.0.0.1%2f.public.example:{p}/",
        "http://127.0.0.1 .public.example:{p}/",
        "http://[::1%25lo]:{p}/",
        "http://[::1:{p}/",
        "http://::1]:{p}/",
        "http://[127.0.0.1]:{p}/",
        "http://[v1.x]:{p}/",
        "http://a..b:{p}/",
        "http://.:{p}/",
        "http://-oProxyCommand=x:{p}/",
        "http://" + "a" * 64 + ".example:{p}/",
        "http://" + "abcdefg." * 40 + "example:{p}/",
        "http://public℀example:{p}/",
    ],
    "refused: port": [
        "http://public.example:22/",
        "http://127.0.0.1:6379/",
        "http://public.example:0/",
        "http://public.example:65536/",
        "http://public.example:-80/",
        "http://public.example:８０/",
        "http://public.example:80:90/",
        "http://public.example:x/",
        "https://public.example:8443/",
    ],
    "refused: url": [
        "http://127.0.0.1:{p}/\r\nHost: public.example\r\n\r\n",
        "http://127.0.0.1:{p}\r\n/x.jpg",
        "http://127.0.0.1\t:{p}/",
        "ht\ntp://127.0.0.1:{p}/",
        "http://public.example/\x00.jpg",
        "http://public.example/\x7f.jpg",
        "http://public.example/\ud800.jpg",
    ],
}
CASES = [(url, reason) for reason, urls in REFUSED.items() for url in urls]

RELATIVE = ("/", "127", "local_", "http:1", "http:/1", "http:\\", "http:///")

FRONT = "127.0.0.2"
"""Stands for the public internet: the limits allow this address, and no other."""
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "loop.example": ["127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "mixed.example": [FRONT, "127.0.0.1"],
    "mixed-last.example": ["127.0.0.1", FRONT],
    "odd.example": ["127.0.0.1%lo"],
    "public.example": [FRONT],
    "xn--bcher-kva.example": [FRONT],
}


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
    """Without the guard these reach it, so that 0 connections says something."""
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    hosts = ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "[::ffff:127.0.0.1]", "[::1]"]
    for number, host in enumerate(hosts, 1):
        plain.open(f"http://{host}:{net.canary.port}/x.jpg").close()
        assert net.touched == number


def test_a_redirect_to_a_hostile_url_ends_as_the_url_itself(net: Net, client: GuardedClient) -> None:
    for number, (url, reason) in enumerate(CASES):
        if reason == "refused: url" or url.startswith(RELATIVE) or url in ("", "http://"):
            continue  # not to be sent in a header, or relative to where it stands
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
