"""Status line and headers of an answer (RFC 9112), read so that nothing odd in them hides what follows.

http.client ends the headers at a line that it cannot read, and takes only 100 for an interim answer.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from t2i_shards.pipeline.download.reasons import BAD_ANSWER, UNCONNECTED, FetchError

LINE = 64 << 10
HEADERS = 100
NO_BODY = frozenset({204, 304})
SWITCHING = 101

_STATUS = re.compile(rb"HTTP/\d+(?:\.\d+)?[ \t]+(\d{3})(?:[ \t].*)?\r?\n", re.DOTALL)


@dataclass(frozen=True)
class Head:
    """length: of the body in bytes, None where the server does not say. stream: the body comes here."""

    status: int
    headers: Message
    length: int | None
    chunked: bool
    stream: io.BufferedReader


def read_head(stream: io.BufferedReader) -> Head:
    """The final answer's head; interim ones (1xx but 101) are skipped. Raises FetchError."""
    while True:
        status, headers = _read_status(stream), _read_headers(stream)
        if status == SWITCHING or not 100 <= status < 200:
            break
    chunked = headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
    length = None if chunked else _length(headers)
    return Head(status, headers, 0 if status in NO_BODY or status == SWITCHING else length, chunked, stream)


def _read_status(stream: io.BufferedReader) -> int:
    line = stream.readline(LINE)
    if not line:
        raise FetchError(UNCONNECTED)
    match = _STATUS.fullmatch(line)
    if match is None or int(match[1]) < 100:
        raise FetchError(BAD_ANSWER)
    return int(match[1])


def _read_headers(stream: io.BufferedReader) -> Message:
    headers = Message()
    for name, value in _fields(stream):
        headers[name] = value
    return headers


def _fields(stream: io.BufferedReader) -> Iterator[tuple[str, str]]:
    """(name, value) of each header. A line without a colon is left out, blanks before the colon are no part of the
    name, and a line that begins with a blank continues the one before it.
    """
    name, value = "", ""
    for line in _lines(stream):
        if line[0] in " \t" and name:
            value = f"{value} {line.strip()}"
            continue
        if name:
            yield name, value
        name, colon, value = (part.strip() for part in line.partition(":"))
        name = name if colon else ""
    if name:
        yield name, value


def _lines(stream: io.BufferedReader) -> Iterator[str]:
    for _ in range(HEADERS + 1):
        line = stream.readline(LINE)
        if line in (b"\r\n", b"\n", b""):
            return
        if len(line) == LINE:
            raise FetchError(BAD_ANSWER)
        yield line.decode("latin-1").rstrip("\r\n") or " "
    raise FetchError(BAD_ANSWER)


def _length(headers: Message) -> int | None:
    said = headers.get("Content-Length", "")
    return int(said) if re.fullmatch(r"[0-9]{1,18}", said) else None
