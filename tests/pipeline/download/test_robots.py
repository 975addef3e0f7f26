"""robots.txt, asked for only when the flag says so."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message

import pytest

from t2i_shards.pipeline.download.client import GuardedClient
from t2i_shards.pipeline.download.limits import NAME, Limits
from t2i_shards.pipeline.download.reasons import FetchError
from t2i_shards.pipeline.download.response import Response
from t2i_shards.pipeline.download.robots import read_robots
from t2i_shards.pipeline.download.url import parse_url
from tests.faults.hostile import PICTURE, Server, Way, answer, in_turn, redirect, send


@pytest.fixture
def server() -> Iterator[Server]:
    with Server({"/open/a.jpg": answer(), "/closed/a.jpg": answer()}) as server:
        yield server


def ends(server: Server, robots: bool = True) -> list[str | bytes]:
    """What becomes of an open and a closed picture, twice."""
    limits = Limits(ports=(server.port,), allow_private=("127.0.0.1",), robots=robots, attempts=1, url_seconds=5)
    client = GuardedClient(limits)
    found: list[str | bytes] = []
    for path in ("open", "closed", "open", "closed"):
        try:
            found.append(client.fetch(f"{server.url}/{path}/a.jpg"))
        except FetchError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize(
    "text",
    [
        "User-agent: *\nDisallow: /closed/",
        "\ufeffUser-agent: *\r\nDisallow: /closed/\r\n",
        "User-agent: otherbot\nDisallow: /\n\nUser-agent: t2i-shards\nDisallow: /closed/",
        "User-agent: *\nDisallow: /\n\nUser-agent: T2I-shards\nAllow: /open/\nDisallow: /",
    ],
)
def test_closed_paths_are_left_out_and_rules_read_once(server: Server, text: str) -> None:
    headers = {"Content_Type": "text/html", "X_Robots_Tag": "noindex"}  # about robots.txt itself, as is common
    server.ways["/robots.txt"] = answer(text.encode(), **headers)
    assert ends(server) == [PICTURE, "opted out: robots.txt"] * 2
    assert [head.split()[1] for head in server.heads] == ["/robots.txt", "/open/a.jpg", "/open/a.jpg"]


def test_nothing_is_asked_without_the_flag(server: Server) -> None:
    server.ways["/robots.txt"] = answer(b"User-agent: *\nDisallow: /")
    assert ends(server, robots=False) == [PICTURE] * 4
    assert server.connections == 4


@pytest.mark.parametrize("way", [answer(b"", "404 Not Found"), answer(b"", "403 Forbidden"), answer(b"")])
def test_no_rules_close_nothing(server: Server, way: Way) -> None:
    server.ways["/robots.txt"] = way
    assert ends(server) == [PICTURE] * 4


@pytest.mark.parametrize("way", [answer(b"", "500 Internal"), answer(bytes(600 << 10)), send(b"?\r\n\r\n")])
def test_rules_that_cannot_be_read_close_everything_for_now(server: Server, way: Way) -> None:
    server.ways["/robots.txt"] = in_turn(way, answer(b""))
    assert ends(server) == ["robots.txt not read"] * 4
    assert server.connections == 1


def test_rules_behind_a_redirect_are_guarded_too(server: Server) -> None:
    server.ways["/robots.txt"] = redirect("http://127.0.0.3/robots.txt")
    assert ends(server) == ["refused: port"] * 4
    server.ways["/robots.txt"] = redirect(f"http://127.0.0.3:{server.port}/robots.txt")
    assert ends(server) == ["refused: address"] * 4


def test_a_redirect_does_not_lead_round_the_rules(server: Server) -> None:
    server.ways["/robots.txt"] = answer(b"User-agent: *\nDisallow: /closed/")
    server.ways["/open/a.jpg"] = redirect("/closed/a.jpg")
    assert ends(server) == ["opted out: robots.txt"] * 4


RULES = [
    ("Disallow: /", "/a.jpg", False),
    ("Disallow: /\nAllow: /open/", "/open/a.jpg", True),
    ("Allow: /\nDisallow: /closed/", "/closed/a.jpg", False),
    ("Allow: /closed/a.jpg\nDisallow: /closed/", "/closed/a.jpg", True),
    ("Disallow: /closed\nAllow: /closed", "/closed", True),
    ("Disallow: /*.jpg", "/x/a.jpg", False),
    ("Disallow: /*.jpg$", "/x/a.jpg", False),
    ("Disallow: /*.jpg$", "/x/a.jpg?size=2", True),
    ("Disallow: /x/*/b", "/x/a/b.jpg", False),
    ("Disallow: /*?", "/a.jpg?size=2", False),
    ("Disallow: /a$", "/a.jpg", True),
    ("Disallow: /caf%C3%A9/", "/café/a.jpg", False),
    ("Disallow: /café/", "/caf%C3%A9/a.jpg", False),
    ("Disallow: /%7euser/", "/~user/a.jpg", False),
    ("Disallow: /x # not this", "/x/a.jpg", False),
    ("Disallow:", "/a.jpg", True),
    ("Crawl-delay: 2\nDisallow: /x", "/x/a.jpg", False),
]


@pytest.mark.parametrize(("rules", "path", "is_open"), RULES)
def test_rules_are_read_as_the_rfc_has_them(rules: str, path: str, is_open: bool) -> None:
    """RFC 9309, sections 2.2.2 and 2.2.3: the longest match decides, of equal ones Allow; * and $ count."""
    assert is_open_to_us(f"User-agent: *\n{rules}\n", path) is is_open


GROUPS = [
    ("User-agent: t2i-shards\nUser-agent: other\nDisallow: /", False),
    ("User-agent: other\nUser-agent: T2I-SHARDS\nDisallow: /", False),
    ("User-agent: *\nAllow: /\n\nUser-agent: t2i-shards\nDisallow: /", False),
    ("User-agent: t2i-shards\nAllow: /\n\nUser-agent: *\nDisallow: /", True),
    ("User-agent: t2i-shards\nDisallow: /x\n\nUser-agent: t2i-shards\nDisallow: /a", False),
    ("User-agent: *\nDisallow: /x\n\nUser-agent: *\nDisallow: /a", False),
    ("User-agent: *\n\nDisallow: /a", False),
    ("User-agent: other\nDisallow: /", True),
    ("Disallow: /", True),
]


@pytest.mark.parametrize(("text", "is_open"), GROUPS)
def test_groups_are_read_as_the_rfc_has_them(text: str, is_open: bool) -> None:
    """RFC 9309, section 2.2.1: groups of one agent are one group; * is for those who have none."""
    assert is_open_to_us(text, "/a.jpg") is is_open


def is_open_to_us(text: str, path: str) -> bool:
    rules = read_robots(lambda: Response(text.encode(), "http://a/robots.txt", 200, Message()))
    return rules.can_fetch(parse_url(f"http://a.example{path}", (80,)).url, NAME)


def test_five_redirects_lead_to_the_rules(server: Server) -> None:
    for hop in range(5):
        server.ways[f"/{hop}" if hop else "/robots.txt"] = redirect(f"/{hop + 1}")
    server.ways["/5"] = answer(b"User-agent: *\nDisallow: /closed/")
    assert ends(server) == [PICTURE, "opted out: robots.txt"] * 2
