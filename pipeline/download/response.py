"""What a server answers, judged by its headers before its body is read."""

from __future__ import annotations

import io
import re
from email.message import Message

from t2i_shards.pipeline.download.backoff import retry_after
from t2i_shards.pipeline.download.connection import Connection
from t2i_shards.pipeline.download.deadline import Deadline
from t2i_shards.pipeline.download.head import Head, read_head
from t2i_shards.pipeline.download.optout import is_opted_out
from t2i_shards.pipeline.download.reasons import (
    BAD_ANSWER,
    CUT_OFF,
    ENCODED,
    NOT_A_PICTURE,
    TOO_LARGE,
    UNCONNECTED,
    X_ROBOTS_TAG,
    FetchError,
    http_reason,
)
from t2i_shards.pipeline.download.url import Url

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PIECE = 64 << 10
PAGES = frozenset({"text/html", "application/xhtml+xml"})
"""What a page about a missing picture calls itself. Other odd types are often just a server's ignorance."""
CODINGS = frozenset({"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd", "dcb", "dcz", "exi"})
"""Content codings that IANA knows; each has to be unpacked."""
CHUNK_LINE = 1 << 10
CHUNKS = 1 << 16
"""A body in more pieces than this costs more to put together than it can be worth."""
FRAMES = 256 << 10
"""What the frames of chunks may take beyond a quarter of the body."""

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(;.*)?\r?\n", re.DOTALL)


class Response(io.BytesIO):
    """The body, whole, as a file; img2dataset's `io.BytesIO(answer.read())` takes it over without a copy."""

    def __init__(self, body: bytes, url: str, status: int, headers: Message) -> None:
        super().__init__(body)
        self.url, self.status, self.headers = url, status, headers


def send_request(connection: Connection, target: Url, user_agent: str) -> Head:
    """Send the request, read the headers of the answer. No cookie, no credential, nothing of the environment."""
    request = (
        f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: {user_agent}\r\n"
        "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )
    try:
        connection.send(request.encode("ascii"))
        return read_head(connection.makefile())
    except ValueError:
        raise FetchError(BAD_ANSWER) from None
    except OSError as error:
        raise error if isinstance(error, FetchError) else FetchError(UNCONNECTED) from None


def read_response(
    response: Head, connection: Connection, url: str, cap: int, deadline: Deadline, picture: bool = True
) -> Response:
    """The answer with its body, at most `cap` bytes; a redirect comes without.

    picture: judge it as a picture, for which there must be room in memory. FetchError when there is nothing for
    us in it.
    """
    headers = response.headers
    if picture and response.status < 400 and is_opted_out(headers.get_all("X-Robots-Tag", [])):
        raise FetchError(X_ROBOTS_TAG)
    if response.status in REDIRECTS and "Location" in headers:
        return Response(b"", url, response.status, headers)
    if response.status != 200:
        wait = retry_after(headers.get("Retry-After")) if response.status in (429, 503) else None
        raise FetchError(http_reason(response.status), wait)
    _refuse_encoded(headers)
    if picture and headers.get_content_type() in PAGES and "Content-Type" in headers:
        raise FetchError(NOT_A_PICTURE)
    body = _read_held(response, connection, cap, deadline) if picture else _read_body(response, connection, cap)
    if picture and not body:
        raise FetchError(NOT_A_PICTURE)
    return Response(body, url, response.status, headers)


def _refuse_encoded(headers: Message) -> None:
    """FetchError for a body that would have to be unpacked; we asked for it plain, and a bomb comes packed."""
    transfer = ",".join(headers.get_all("Transfer-Encoding", [])).lower()
    content = ",".join(headers.get_all("Content-Encoding", [])).strip().lower()
    # Servers put other words there (UTF-8, none, aws-chunked), and send what was asked for.
    packed = CODINGS.intersection(re.split(r"[\s,]+", content))
    if packed or transfer not in ("", "chunked", "identity"):
        raise FetchError(ENCODED)


def _read_held(response: Head, connection: Connection, cap: int, deadline: Deadline) -> bytes:
    """The body once there is room for it; what it does not take of the room is given back."""
    expected = cap if response.length is None else min(response.length, cap)
    deadline.budget.hold(expected, deadline)
    body = b""
    try:
        body = _read_body(response, connection, cap)
        return body
    finally:
        deadline.budget.give_back(expected - len(body))


def _read_body(response: Head, connection: Connection, cap: int) -> bytes:
    if response.length is not None and response.length > cap:
        raise FetchError(TOO_LARGE)
    connection.allowance, connection.too_much = cap + cap // 4 + FRAMES, TOO_LARGE
    stream = response.stream
    if response.length == 0:
        return b""
    try:
        if response.chunked:
            return _read_chunks(stream, cap)
        if response.length is None:
            return _read_rest(stream, cap)
        body = stream.read(response.length)
    except OSError as error:
        raise error if isinstance(error, FetchError) else FetchError(CUT_OFF) from None
    if len(body) < response.length:
        raise FetchError(CUT_OFF)
    return bytes(body)


def _read_rest(stream: io.BufferedIOBase, cap: int) -> bytes:
    """All until the server closes the connection; whether that is the whole body cannot be known."""
    body = io.BytesIO()
    while piece := stream.read(PIECE):
        if body.tell() + len(piece) > cap:
            raise FetchError(TOO_LARGE)
        body.write(piece)
    return body.getvalue()


def _read_chunks(stream: io.BufferedIOBase, cap: int) -> bytes:
    """RFC 9112, section 7.1, by hand: http.client takes negative sizes, and 64 KiB of them per line."""
    body = io.BytesIO()
    for _ in range(CHUNKS):
        size = _read_chunk_size(stream)
        if not size:
            return body.getvalue()
        if body.tell() + size > cap:
            raise FetchError(TOO_LARGE)
        while size:
            piece = stream.read(min(size, PIECE))
            if not piece:
                raise FetchError(CUT_OFF)
            body.write(piece)
            size -= len(piece)
        stream.readline(CHUNK_LINE)
    raise FetchError(BAD_ANSWER)


def _read_chunk_size(stream: io.BufferedIOBase) -> int:
    line = stream.readline(CHUNK_LINE)
    if not line.endswith(b"\n"):
        raise FetchError(BAD_ANSWER if len(line) == CHUNK_LINE else CUT_OFF)
    match = _CHUNK_SIZE.fullmatch(line)
    if match is None:
        raise FetchError(BAD_ANSWER)
    return int(match[1], 16)
