"""Pictures of the sizes that LAION's have, and a web server for them in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

LEAST, MOST = 400, 2000
ASPECTS = (1.0, 4 / 3, 3 / 2, 16 / 9)


def make_pictures(folder: Path, count: int) -> None:
    """JPEGs 0.jpg, 1.jpg, …: quality 85 to 95, shorter side from 400, longer to 2,000 pixels, even by logarithm.

    Smooth noise of a photograph's spectrum with edges drawn into it; about 2 bits a pixel, as photographs have.
    """
    folder.mkdir()
    rng = np.random.default_rng(0)
    canvas = _noise(rng, MOST)
    for number in range(count):
        aspect = ASPECTS[rng.integers(len(ASPECTS))]
        short = int(np.exp(rng.uniform(np.log(LEAST), np.log(MOST / aspect))))
        width, height = (short, int(short * aspect))[:: rng.choice((1, -1))]
        x, y = rng.integers(0, MOST - width + 1), rng.integers(0, MOST - height + 1)
        picture = canvas[y : y + height, x : x + width].copy()
        _draw(picture, rng)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(85, 96))]
        cv2.imwrite(str(folder / f"{number}.jpg"), picture, quality)


def _noise(rng: np.random.Generator, side: int) -> np.ndarray:
    total = np.zeros((side, side, 3), np.float32)
    octave = 4
    while octave <= side:
        rough = rng.standard_normal((octave, octave, 3)).astype(np.float32)
        total += cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC) * (110 / octave**0.55)
        octave *= 2
    return np.clip(total + 128, 0, 255).astype(np.uint8)


def _draw(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Shapes and thin lines: what shows how well a picture was resized."""
    height, width = picture.shape[:2]
    for _ in range(12):
        corners = (rng.random((4, 2)) * (width, height)).astype(np.int32)
        colour = tuple(map(int, rng.integers(0, 256, 3)))
        if rng.random() < 0.5:
            cv2.polylines(picture, [corners], True, colour, int(rng.integers(1, 4)), cv2.LINE_AA)
        else:
            small = (corners - corners[0]) // 5 + corners[0]
            cv2.fillPoly(picture, [small], colour, cv2.LINE_AA)


@contextmanager
def serve(folder: Path) -> Iterator[int]:
    """A web server on loopback: GET /<anything>/<name> gives folder/<name>. Its port."""
    command = [sys.executable, "-m", "tests.bench.web", os.fspath(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


class _Handler(BaseHTTPRequestHandler):
    pictures: dict[str, bytes]

    def do_GET(self) -> None:
        data = self.pictures[self.path.rpartition("/")[2]]
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 256


if __name__ == "__main__":
    _Handler.pictures = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}
    server = _Server(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
