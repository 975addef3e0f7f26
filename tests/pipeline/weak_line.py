"""A weak line to a server on loopback: a proxy that hands requests on, or lets them fail as networks do."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

WAYS = ("503", "500", "429", "reset", "cut", "lost", "silence")
"""A status; a reset before anything was handed on; an answer cut in its middle by a reset; an answer that is lost,
though the server did what was asked; no answer for as long as the client waits."""


class Line:
    """fails: (method, path, how often this was asked before) -> a way to fail, or None. asked: what was asked.

    strips: headers of requests that are not handed on, in small letters.
    """

    def __init__(self, server: str) -> None:
        self.server = urlparse(server).netloc
        self.fails: Callable[[str, str, int], str | None] = lambda method, path, before: None
        self.asked: list[tuple[str, str]] = []
        self.strips: tuple[str, ...] = ()
        self.failed = Counter[str]()
        self.over = threading.Event()
        self._lock = threading.Lock()

    def judge(self, method: str, path: str) -> str | None:
        with self._lock:
            before = self.asked.count((method, path))
            self.asked.append((method, path))
            way = self.fails(method, path, before)
            self.failed.update([way] if way else [])
            return way


@contextmanager
def weak_line(server: str) -> Iterator[tuple[str, Line]]:
    """(its address, the line to the server at `server`)"""
    line = Line(server)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"line": line}))
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}", line
    line.over.set()
    proxy.shutdown()
    proxy.server_close()


class _Handler(BaseHTTPRequestHandler):
    line: Line
    protocol_version = "HTTP/1.1"  # says 100 Continue, for which clients wait before they send a body

    def _hand_on(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        way = self.line.judge(self.command, unquote(urlparse(self.path).path))
        if way == "reset":
            return self._reset()
        if way == "silence":
            self.line.over.wait()
            return None
        if way and way.isdigit():
            return self._answer(int(way), {}, b"")
        status, headers, data = self._ask(body)
        if way == "lost":
            return self._reset()
        self._answer(status, headers, data, cut=way == "cut")
        return None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _hand_on

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        server = HTTPConnection(self.line.server, timeout=60)
        stripped = ("expect", *self.line.strips)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in stripped}
        server.request(self.command, self.path, body, headers)
        answer = server.getresponse()
        data = answer.read()
        server.close()
        return answer.status, dict(answer.getheaders()), data

    def _answer(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._reset()

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def finish(self) -> None:
        """What a reset has closed cannot be flushed."""
        if self.connection.fileno() >= 0:
            super().finish()

    def log_message(self, *_: object) -> None:
        """Quiet."""
