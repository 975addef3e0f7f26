"""Heads of answers: nothing odd in them hides what follows."""

from __future__ import annotations

import io

import pytest

from t2i_shards.pipeline.download.head import HEADERS, Head, read_head
from t2i_shards.pipeline.download.reasons import FetchError

OK = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes) -> Head:
    return read_head(io.BufferedReader(io.BytesIO(data)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"no colon here\r\n",
        b": no name\r\n",
        b"\x00\xff\x85\r\n",
        b" begins with a blank\r\n",
        b"X-Folded: one,\r\n two\r\n",
        b"X-Empty:\r\n",
        b"From someone Sat Nov 28 21:34:43 2026\r\n",
        b"\r\r\n",
    ],
)
@pytest.mark.parametrize(
    "line", [b"X-Robots-Tag: noai", b"X-Robots-Tag : noai", b"x-robots-tag:\tnoai ", b"X-Robots-Tag\t :noai"]
)
def test_no_line_hides_the_next(before: bytes, line: bytes) -> None:
    head = read(OK + before + line + b"\r\nContent-Length: 4\r\n\r\nbody")
    assert (head.status, head.headers.get_all("X-Robots-Tag"), head.length) == (200, ["noai"], 4)
    assert head.stream.read() == b"body"


def test_a_header_may_be_folded_and_come_twice() -> None:
    head = read(OK + b"X-Robots-Tag: nofollow,\r\n\tnoai\r\nX-Robots-Tag: noml\r\n\r\n")
    assert head.headers.get_all("X-Robots-Tag") == ["nofollow, noai", "noml"]


def test_interim_answers_are_skipped_with_their_headers() -> None:
    interim = b"".join(
        b"HTTP/1.1 %d Wait\r\nX-Robots-Tag: noai\r\n\r\n" % status for status in (100, 102, 103, 199)
    )
    head = read(interim + OK + b"Content-Length: 2\r\n\r\nhi")
    assert (head.status, head.headers.get_all("X-Robots-Tag"), head.stream.read()) == (200, None, b"hi")
    assert read(b"HTTP/1.1 101 Switching\r\n\r\n").status == 101


@pytest.mark.parametrize(
    ("headers", "length", "chunked"),
    [
        (b"", None, False),
        (b"Content-Length: 12\r\n", 12, False),
        (b"Content-Length: -12\r\n", None, False),
        (b"Content-Length: twelve\r\n", None, False),
        (b"Transfer-Encoding: Chunked\r\nContent-Length: 12\r\n", None, True),
    ],
)
def test_how_long_the_body_is(headers: bytes, length: int | None, chunked: bool) -> None:
    head = read(OK + headers + b"\r\n")
    assert (head.length, head.chunked) == (length, chunked)


def test_an_answer_without_body() -> None:
    assert [read(b"HTTP/1.1 %d x\r\n\r\n" % status).length for status in (204, 304)] == [0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "connection failed"),
        (b"ICY 200 OK\r\n\r\n", "bad answer"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "bad answer"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "bad answer"),
        (b"HTTP/1.1 200 OK", "bad answer"),
        (OK + b"X: y\r\n" * (HEADERS + 1), "bad answer"),
        (OK + b"X: " + b"y" * (65 << 10) + b"\r\n\r\n", "bad answer"),
    ],
)
def test_what_is_no_answer(data: bytes, reason: str) -> None:
    with pytest.raises(FetchError, match=f"^{reason}$"):
        read(data)
