"""A stand-in for the Hub's API on loopback: a tree of files, commits, and its storage of large files."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """files: path -> (bytes, kept apart as a large file). commits: the paths of each, deleted ones with a minus.

    fail: called with each request (method, path); an HTTP status that it returns is the answer.
    """

    address: str = ""
    files: dict[str, tuple[bytes, bool]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    uploads: int = 0
    fail: Any = None

    def commit(self, lines: list[dict[str, Any]]) -> None:
        changed = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = (base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = (self.objects[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
            else:
                continue
            changed.append(("-" if line["key"] == "deletedFile" else "") + value["path"])
        self.commits.append(changed)

    def tree(self) -> list[dict[str, Any]]:
        return [
            {
                "type": "file",
                "path": path,
                "size": len(data),
                "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                **(
                    {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}}
                    if large
                    else {}
                ),
            }
            for path, (data, large) in sorted(self.files.items())
        ]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def _answer(self, status: int, body: Any = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _begin(self) -> bytes | None:
        """The body; None when the request was made to fail."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = self.hub.fail(self.command, self.path) if self.hub.fail else None
        if status:
            self._answer(status, {"error": "not today"})
            return None
        return body

    def do_GET(self) -> None:
        if self._begin() is not None:
            self._answer(200, self.hub.tree() if "/tree/" in self.path else {})

    def do_PUT(self) -> None:
        if (body := self._begin()) is not None:
            self.hub.uploads += 1
            self.hub.objects[hashlib.sha256(body).hexdigest()] = body
            self._answer(200)

    def do_POST(self) -> None:
        body = self._begin()
        if body is None:
            return
        if self.path.endswith("/api/repos/create"):
            self._answer(200, {"url": f"{self.hub.address}/datasets/user/name"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(".tar") else "regular",
                    "shouldIgnore": False,
                }
                for f in files
            ]
            self._answer(200, {"files": modes})
        elif self.path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.hub.address}/store/{o['oid']}"}}}
                if o["oid"] not in self.hub.objects
                else o
                for o in wanted
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            self.hub.commit([json.loads(line) for line in body.splitlines()])
            oid = f"{len(self.hub.commits):040x}"
            self._answer(
                200, {"commitUrl": f"{self.hub.address}/datasets/user/name/commit/{oid}", "commitOid": oid}
            )
        else:
            self._answer(200, {})

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """The stand-in, for as long as the context lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
