"""Servers on loopback that misbehave in every way known from downloading from the web, and a canary.

`NASTY` names the ways; `Server` serves any of them by its path, so that a long run can mix them.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

from t2i_shards.pipeline.download.client import GuardedClient
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.reasons import FetchError

Way: TypeAlias = Callable[[socket.socket, str], None]
"""Answers one request (its head is the second argument); the connection is closed afterwards."""

PICTURE = b"\xff\xd8" + bytes(range(256)) * 160
"""40 kB that are not looked at."""
BLOCK = bytes(64 << 10)
SECONDS = 0.5
"""What a URL gets where it is to run out of time."""
CAP = 4 << 20


def answer(body: bytes = PICTURE, status: str = "200 OK", **headers: str) -> Way:
    """A plain answer; headers with _ for -. A value of "" leaves a header of the usual ones out."""
    usual = {"Content-Type": "image/jpeg", "Content-Length": str(len(body))}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in {**usual, **given}.items() if value]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""])
    return send(head.encode() + body)


def send(data: bytes) -> Way:
    """These bytes and the end."""

    def way(connection: socket.socket, _: str) -> None:
        connection.sendall(data)

    return way


def redirect(location: str, status: str = "302 Found") -> Way:
    return answer(b"", status, Location=location)


def in_turn(*ways: Way) -> Way:
    """The first way for the first request, and so on; the last one for all that follow."""
    left = list(ways)

    def way(connection: socket.socket, head: str) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(connection, head)

    return way


def drip(before: bytes, each: bytes) -> Way:
    """A byte or so at a time, for ever; each arrives long before a socket's own time-out."""

    def way(connection: socket.socket, _: str) -> None:
        connection.sendall(before)
        while True:
            connection.sendall(each)
            time.sleep(0.05)

    return way


def flood(before: bytes, each: bytes, total: int) -> Way:
    """`each` again and again, until `total` bytes are sent."""

    def way(connection: socket.socket, head: str) -> None:
        connection.sendall(before)
        for _ in range(total // len(each)):
            connection.sendall(each)

    return way


def reset(before: bytes) -> Way:
    """Send, and hang up with a RST."""

    def way(connection: socket.socket, _: str) -> None:
        connection.sendall(before)
        time.sleep(0.05)  # a RST overtakes what the other side has not read
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return way


def silence(connection: socket.socket, _: str) -> None:
    """No answer, until the other side gives up."""
    connection.recv(1)


def _bomb() -> bytes:
    """100 MiB of zeros as gzip: 100 kB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(BLOCK) for _ in range(1600)) + packer.flush()


@dataclass(frozen=True)
class Nasty:
    """A way to misbehave, and the reason with which the download must end."""

    way: Way
    reason: str


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_CHUNK = b"10000\r\n" + BLOCK + b"\r\n"
_LONG = 300 << 20

NASTY: Mapping[str, Nasty] = {
    "silent": Nasty(silence, "timed out"),
    "drip-status": Nasty(drip(b"HTTP/1.1 ", b"2"), "timed out"),
    "drip-header": Nasty(drip(_OK, b"X-A: b\r\n"), "timed out"),
    "drip-body": Nasty(drip(_OK + b"Content-Length: 40000\r\n\r\n", b"x"), "timed out"),
    "drip-unsized": Nasty(drip(_OK + b"\r\n", b"x"), "timed out"),
    "drip-chunked": Nasty(drip(_CHUNKED, b"1\r\nx\r\n"), "timed out"),
    "endless": Nasty(flood(_CHUNKED, _CHUNK, _LONG), "too large"),
    "endless-tiny-chunks": Nasty(flood(_CHUNKED, b"1\r\nx\r\n" * 10000, _LONG), "bad answer"),
    "endless-trailers": Nasty(flood(_CHUNKED + b"0\r\n", b"X: y\r\n" * 10000, _LONG), "not a picture"),
    "endless-headers": Nasty(flood(_OK, b"X: " + b"y" * 60000 + b"\r\n", _LONG), "bad answer"),
    "endless-continue": Nasty(flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, _LONG), "bad answer"),
    "long-line": Nasty(flood(b"HTTP/1.1 200 ", BLOCK, _LONG), "bad answer"),
    "negative-chunk": Nasty(flood(_CHUNKED + b"-1\r\n", BLOCK, _LONG), "bad answer"),
    "large": Nasty(flood(_OK + b"Content-Length: 314572800\r\n\r\n", BLOCK, _LONG), "too large"),
    "large-unsized": Nasty(flood(_OK + b"\r\n", BLOCK, _LONG), "too large"),
    "large-chunk": Nasty(flood(_CHUNKED + b"12c00000\r\n", BLOCK, _LONG), "too large"),
    "bomb": Nasty(answer(_bomb(), Content_Encoding="gzip"), "refused: encoded"),
    "bomb-transfer": Nasty(answer(_bomb(), Transfer_Encoding="gzip, chunked"), "refused: encoded"),
    "brotli": Nasty(answer(Content_Encoding="br"), "refused: encoded"),
    "packed-twice": Nasty(answer(Content_Encoding="UTF-8, GZIP"), "refused: encoded"),
    "cut": Nasty(send(_OK + b"Content-Length: 40000\r\n\r\n" + PICTURE[:20000]), "cut off"),
    "cut-chunked": Nasty(send(_CHUNKED + _CHUNK[:1000]), "cut off"),
    "cut-between-chunks": Nasty(send(_CHUNKED + _CHUNK), "cut off"),
    "reset": Nasty(reset(_OK + b"Content-Length: 40000\r\n\r\n" + PICTURE[:20000]), "cut off"),
    "reset-first": Nasty(reset(b""), "connection failed"),
    "hang-up": Nasty(send(b""), "connection failed"),
    "page": Nasty(answer(b"<html>gone</html>", Content_Type="text/html; charset=utf-8"), "not a picture"),
    "garbage": Nasty(send(b"\x00\x01 what?\r\n\r\n"), "bad answer"),
    "odd-status": Nasty(send(b"HTTP/1.1 abc Hm\r\n\r\n"), "bad answer"),
    "no-content": Nasty(answer(b"", "204 No Content"), "http 204"),
    "part": Nasty(answer(PICTURE[:100], "206 Partial Content"), "http 206"),
    "not-found": Nasty(answer(b"", "404 Not Found"), "http 404"),
    "gone": Nasty(answer(b"", "410 Gone"), "http 410"),
    "broken": Nasty(answer(b"", "500 Internal Server Error"), "http 500"),
    "moved-nowhere": Nasty(answer(b"", "302 Found"), "http 302"),
    "loop": Nasty(redirect("/loop"), "refused: redirects"),
    "busy-for-long": Nasty(answer(b"", "429 Too Many Requests", Retry_After="100000"), "http 429"),
    "opted-out": Nasty(answer(X_Robots_Tag="noai"), "opted out: X-Robots-Tag"),
}
"""name -> how it misbehaves; served under /name."""
SLOW = frozenset(name for name, nasty in NASTY.items() if nasty.reason == "timed out")


class Server:
    """Answers on loopback by the request's path, each connection in a thread; counts what comes in."""

    def __init__(self, ways: Mapping[str, Way] | None = None, address: str = "127.0.0.1", port: int = 0) -> None:
        self.ways: dict[str, Way] = {f"/{name}": nasty.way for name, nasty in NASTY.items()}
        self.ways.update(ways or {})
        self.connections = 0
        self.heads: list[str] = []
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, port), family=family, backlog=256)
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{self.port}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
        with suppress(OSError), connection:
            head = self._read_head(connection)
            if head:
                self.heads.append(head)
                path = head.split(" ")[1].partition("?")[0]
                self.ways.get(path, NASTY["not-found"].way)(connection, head)

    def _read_head(self, connection: socket.socket) -> str:
        data = b""
        while b"\r\n\r\n" not in data and (piece := connection.recv(4096)):
            data += piece
        return data.decode("latin-1")


def guard_for(server: Server, **limits: object) -> GuardedClient:
    """A guard that reaches this server on 127.0.0.1, and nothing else."""
    given: dict[str, object] = {"url_seconds": 20.0, "picture_bytes": CAP, "attempts": 1, **limits}
    return GuardedClient(Limits(ports=(server.port,), allow_private=("127.0.0.1",), **given))  # type: ignore[arg-type]


def end_of(client: GuardedClient, url: str) -> str | bytes:
    """The picture, or the reason why there is none."""
    try:
        return client.fetch(url)
    except FetchError as error:
        return str(error)
