"""A web server on loopback of which three pictures in ten fail, each way in turn, always the same way."""

from __future__ import annotations

import io
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from tests.bombs import make_png

WAYS = (
    "http 404",
    "http 503",
    "http 429",
    "drip",
    "silence",
    "cut",
    "reset",
    "html",
    "tiny",
    "bomb",
    "gzip",
    "private",
    "noai",
    "endless",
    "broken",
)


HEALED = threading.Event()
"""While it is set, every picture is served."""

WHEN_ASKED: dict[int, Callable[[], None]] = {}
"""What is done once, when picture `number` is asked for and before it is answered."""


def way_of(number: int) -> str:
    """How picture `number` answers: "ok", or one of WAYS for three of ten."""
    return WAYS[(number // 10 * 3 + number % 10 // 3 - 1) % len(WAYS)] if number % 10 in (3, 6, 9) else "ok"


@cache
def picture(number: int) -> bytes:
    """A JPEG of its own for each number."""
    rough = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(rough).resize((96, 72), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        number = int(self.path.rsplit("/", 1)[1].split(".")[0])
        if act := WHEN_ASKED.pop(number, None):
            act()
        way = "ok" if HEALED.is_set() else way_of(number)
        data = picture(number)
        if way.startswith("http "):
            self._answer(int(way.split()[1]), b"no", **({"Retry-After": "600"} if way == "http 429" else {}))
        elif way == "private":
            port = self.connection.getsockname()[1]
            self._answer(302, b"", Location=f"http://169.254.169.254:{port}/latest/meta-data")
        elif way == "noai":
            self._answer(200, data, **{"X-Robots-Tag": "noai"})
        elif way == "html":
            self._answer(200, b"<html>not here</html>", **{"Content-Type": "text/html"})
        elif way == "gzip":
            self._answer(200, data, **{"Content-Encoding": "gzip"})
        elif way == "bomb":
            self._answer(200, _bomb())
        elif way == "tiny":
            self._answer(200, _tiny())
        elif way == "broken":
            self._answer(200, data[: len(data) // 2])
        elif way == "reset":
            self.connection.close()
        elif way == "silence":
            time.sleep(4)
        elif way in ("cut", "drip", "endless"):
            self._send_badly(way, data)
        else:
            self._answer(200, data)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "image/jpeg", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_badly(self, way: str, data: bytes) -> None:
        self.send_response(200)
        if way != "endless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if way == "cut":
            self.wfile.write(data[: len(data) // 2])
            return
        until = time.monotonic() + 6
        while time.monotonic() < until:
            self.wfile.write(b"\0" * (100_000 if way == "endless" else 1))
            time.sleep(0 if way == "endless" else 0.2)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the other side hung up

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return

    def log_message(self, *_: object) -> None:
        """Nothing: thousands of requests are made."""


def _bomb() -> bytes:
    """A PNG of 30000x30000 pixels by its header; of the pixels there are a few."""
    return make_png(30000, 30000, 8, 2, zlib.compress(bytes(99)))


def _tiny() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@contextmanager
def serve() -> Iterator[int]:
    """The port of the server, for as long as the context lasts."""
    server = _Server(("0.0.0.0", 0), _Handler)  # 127.0.0.2 too
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
