"""A fake of the Hub's API on loopback: branches of files, commits, and its storage of large files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

Files = dict[str, tuple[bytes, bool]]
"""path -> (bytes, kept apart as a large file)"""


@dataclass
class Hub:
    """One repository, user/name, as a dataset or a model, once it was created.

    branches: name -> its files. commits: the paths of each, deleted ones with a minus. fail: called with each
    request (method, path); an HTTP status that it returns is the answer, with `headers`.
    """

    address: str = ""
    branches: dict[str, Files] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    private: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    uploads: int = 0
    fail: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    _made: int = 0
    _snapshots: dict[str, Files] = field(default_factory=dict)

    @property
    def files(self) -> Files:
        """Of the branch main."""
        return self.branches["main"]

    def create(self, private: bool = False) -> None:
        """With the first commit, as the Hub makes it."""
        self.private = private
        self.branches["main"] = {".gitattributes": (b"*.tar filter=lfs", False)}
        self._move("main")

    def edit(self, changes: dict[str, bytes | None], branch: str = "main") -> None:
        """A commit of the owner's: path -> bytes, or None to delete it."""
        for path, data in changes.items():
            if data is None:
                del self.branches[branch][path]
            else:
                self.branches[branch][path] = (data, False)
        self._move(branch)

    def commit(self, lines: list[dict[str, Any]], branch: str = "main") -> None:
        changed, files = [], self.branches[branch]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                files[value["path"]] = (self.objects[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                continue
            changed.append(("-" if line["key"] == "deletedFile" else "") + value["path"])
        self.commits.append(changed)
        self._move(branch)

    def _move(self, branch: str) -> None:
        self._made += 1
        self.heads[branch] = f"{self._made:040x}"
        self._snapshots[self.heads[branch]] = dict(self.branches[branch])

    def branch_from(self, name: str, start: str) -> None:
        self.branches[name] = dict(self._snapshots[start])
        self.heads[name] = start

    def at(self, revision: str) -> Files | None:
        """The files of a branch or commit."""
        if revision in self.branches:
            return self.branches[revision]
        # What a test changed behind the scenes is to be seen too.
        branch = next((name for name, head in self.heads.items() if head == revision), None)
        return self.branches[branch] if branch else self._snapshots.get(revision)


def tree(files: Files, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """What a folder of the branch holds, folders too, and what is below it when `recursive`."""
    prefix = f"{folder}/" if folder else ""
    below = {path: file for path, file in files.items() if path.startswith(prefix)}
    folders = {
        path[: cut.end()].rstrip("/")
        for path in below
        for cut in re.finditer("/", path)
        if cut.end() > len(prefix)
    }

    def listed(path: str) -> bool:
        return recursive or "/" not in path.removeprefix(prefix)

    return [
        *(
            {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
            for path in sorted(filter(listed, folders))
        ),
        *_describe({path: file for path, file in below.items() if listed(path)}),
    ]


def _describe(files: Files) -> list[dict[str, Any]]:
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
        for path, (data, large) in sorted(files.items())
    ]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def _answer(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _missing(self, what: str) -> None:
        self._answer(404, {"error": f"{what} not found"}, {"X-Error-Code": f"{what}NotFound"})

    def _begin(self) -> bytes | None:
        """The body; None when the request has been answered: it was made to fail, or there is no repository."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = self.hub.fail(self.command, self.path) if self.hub.fail else None
        if status:
            self._answer(status, {"error": "not today"}, self.hub.headers)
            return None
        if "user/name" in self.path and not self.hub.branches:
            self._missing("Repo")
            return None
        return body

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self._begin() is None:
            return
        what, revision, path = self._take_apart()
        files = self.hub.at(revision)
        if files is None:
            self._missing("Revision")
        elif what == "tree":
            listing = tree(files, path, "recursive=true" in self.path.lower())
            self._answer(200, listing) if listing or not path else self._missing("Entry")
        elif what == "commits":
            self._answer(200, [_commit(sha) for sha in sorted(self.hub._snapshots, reverse=True)])
        elif what == "resolve":
            self._resolve(files, path, self._sha(revision))
        else:
            self._answer(200, {"id": "user/name", "sha": self._sha(revision), "private": self.hub.private})

    def _resolve(self, files: Files, path: str, sha: str) -> None:
        if path not in files:
            self._missing("Entry")
            return
        data = files[path][0]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            self._answer(206, data[first : last + 1], headers)
        else:
            self._answer(200, data, headers)

    def _take_apart(self) -> tuple[str, str, str]:
        """(what is asked for, of which revision, path of a file)"""
        _, _, rest = unquote(self.path.partition("?")[0]).partition("user/name")
        what, _, rest = rest.strip("/").partition("/")
        revision, _, path = rest.partition("/")
        return what, revision or "main", path

    def _sha(self, revision: str) -> str:
        return self.hub.heads.get(revision, revision)

    def do_PUT(self) -> None:
        if (body := self._begin()) is not None:
            self.hub.uploads += 1
            self.hub.objects[hashlib.sha256(body).hexdigest()] = body
            self._answer(200)

    def do_POST(self) -> None:
        body = self._begin()
        if body is None:
            return
        what, revision, _ = self._take_apart()
        if self.path.endswith("/api/repos/create"):
            made = not self.hub.branches
            if made:
                self.hub.create(json.loads(body).get("visibility") == "private")
            self._answer(200 if made else 409, {"url": f"{self.hub.address}/datasets/user/name"})
        elif what == "branch":
            self.hub.branch_from(revision, self._sha(json.loads(body).get("startingPoint", "main")))
            self._answer(200, {})
        elif what == "preupload":
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
        elif what == "commit":
            self._commit([json.loads(line) for line in body.splitlines()], revision)
        else:
            self._answer(200, {})

    def _commit(self, lines: list[dict[str, Any]], branch: str) -> None:
        if lines[0]["value"].get("parentCommit", self.hub.heads[branch]) != self.hub.heads[branch]:
            self._answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        self.hub.commit(lines, branch)
        oid = self.hub.heads[branch]
        self._answer(200, {"commitUrl": f"{self.hub.address}/datasets/user/name/commit/{oid}", "commitOid": oid})

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def _commit(sha: str) -> dict[str, Any]:
    return {"id": sha, "authors": [], "date": "2026-01-01T00:00:00.000Z", "title": "a commit", "message": ""}


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """The fake Hub, for as long as the context lasts."""
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
