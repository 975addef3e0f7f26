"""A hub with one dataset, me/set, that serves a folder on loopback: as much of its API as reading asks for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

API, TREE, FILES = "/api/datasets/me/set", "/api/datasets/me/set/tree/main/", "/datasets/me/set/resolve/main/"
COMMIT = "0" * 40
RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@contextmanager
def serve_folder(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(address, the paths of the files that were asked for)"""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            if path.startswith(FILES):
                asked.append(path.removeprefix(FILES))
                self.answer(folder / asked[-1])
            elif f"{path}/".startswith(TREE):
                self.answer(folder / path.removeprefix(TREE.rstrip("/")).strip("/"))
            elif path == API:
                self.send({"id": "me/set", "sha": COMMIT, "private": False, "downloads": 0, "siblings": []})
            else:
                self.send({"error": path}, 404)

        def do_POST(self) -> None:
            asked_for = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["paths"]
            found = [folder / path for path in asked_for if (folder / path).exists()]
            self.send([describe(path, folder) for path in found])

        def answer(self, path: Path) -> None:
            if path.is_dir():
                below = path.rglob if "recursive=true" in self.path.lower() else path.glob
                self.send([describe(child, folder) for child in sorted(below("[!.]*"))])
            elif path.is_file():
                self.send(path.read_bytes())
            else:
                self.send({"error": "Entry not found"}, 404)

        def send(self, content: Any, status: int = 200) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            if part := RANGE.fullmatch(self.headers.get("Range", "")):
                status, data = 206, data[int(part[1]) : int(part[2]) + 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", COMMIT)
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def run_reader(script: str, address: str, *arguments: str) -> str:
    """What a script prints in a process of its own, for which the Hub is at this address."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "HF_ENDPOINT": address, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def describe(path: Path, folder: Path) -> dict[str, Any]:
    kind, size = ("directory", 0) if path.is_dir() else ("file", path.stat().st_size)
    return {"type": kind, "oid": "0" * 40, "size": size, "path": path.relative_to(folder).as_posix()}
