"""Files below a folder, here or in a bucket: whatever their names are, each is read or has its reason."""

from __future__ import annotations

from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import s3fs

from t2i_shards.pipeline.errors import Drop, RequestError, Unreachable
from t2i_shards.pipeline.shards.input_files import Pattern
from t2i_shards.pipeline.shards.remote_read import open_filesystem
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.tree import MENDABLE, MISSING, UNREADABLE, Tree, open_tree

FILES = {"a.png": b"picture", "empty.txt": b"", "sub/b.png": b"other"}
NAMES = {
    "nothing.png": "no such file",
    "a.png/x.png": "no such file",
    "nul\0.png": "no such file",
    "half \ud800.png": "no such file",
    "../secret.png": "path out of the folder",
    "sub/../../secret.png": "path out of the folder",
    "/etc/passwd": "path out of the folder",
}


@pytest.fixture
def local(tmp_path: Path) -> Tree:
    for name, data in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "secret.png").write_bytes(b"secret")
    return open_tree(str(tmp_path / "tree"))


@pytest.fixture
def remote(bucket: str) -> Tree:
    import boto3

    for name, data in FILES.items():
        boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key=f"tree/{name}", Body=data)
    return open_tree(f"{bucket}/tree")


def read(tree: Tree, name: str, most: int = -1) -> bytes | str:
    try:
        return tree.read(name, most)
    except Drop as drop:
        return drop.reason


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    place = "s3://no-such-bucket-of-ours/a"
    for find in (lambda: open_tree(place).names(LeftOut()), Pattern(place, (".tar",)).find):
        with pytest.raises(RequestError, match=f"^cannot read {place}: .*bucket does not exist"):
            list(find())


@pytest.mark.parametrize("place", ["local", "remote"])
def test_a_file_is_read_or_has_its_reason(
    place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of these errors is taken for an outage, which would be waited for."""
    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.WAITS", ())
    tree: Tree = request.getfixturevalue(place)
    assert {name: read(tree, name) for name in FILES} == FILES
    assert {name: read(tree, name, 4) for name in FILES} == {name: data[:4] for name, data in FILES.items()}
    assert {name: read(tree, name, 4) for name in NAMES} == NAMES
    assert read(tree, "n" * 300) == ("file not readable" if place == "local" else "no such file")
    assert read(tree, "n" * 1100) == ("file not readable" if place == "local" else "no such file")
    assert read(tree, "sub") == ("not a regular file" if place == "local" else "no such file")


def test_an_archived_object_is_a_drop_of_its_own(remote: Tree) -> None:
    """The others are read; with --retry-failed it is tried again."""
    import boto3

    bucket = remote.root.removeprefix("s3://").partition("/")[0]
    boto3.client("s3").put_object(Bucket=bucket, Key="tree/old.png", Body=b"old", StorageClass="GLACIER")
    assert "old.png" in set(remote.names(LeftOut()))
    assert [read(remote, "old.png"), read(remote, "old.png", 2)] == [UNREADABLE] * 2
    assert UNREADABLE in MENDABLE
    assert read(remote, "a.png") == b"picture"


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "AccessDenied"])
def test_credentials_that_are_refused_end_the_run(
    code: str, remote: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every object would become a drop; only AccessDenied can be of one object."""
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    def refuse(*_: object, **__: object) -> bytes:
        cause = ClientError({"Error": {"Code": code, "Message": code}}, "GetObject")
        raise translate_boto_error(cause) from cause

    fs, _ = open_filesystem(remote.root)
    monkeypatch.setattr(fs, "cat_file", refuse)
    if code == "AccessDenied":
        assert read(remote, "a.png") == UNREADABLE
    else:
        with pytest.raises(RequestError, match=f"^access to {remote.root} is denied: .*{code}"):
            remote.read("a.png")


@pytest.mark.parametrize(
    ("status", "reason"), [(403, UNREADABLE), (401, UNREADABLE), (451, UNREADABLE), (404, MISSING), (410, MISSING)]
)
def test_what_a_web_server_refuses_is_dropped_at_once(
    status: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an object of a bucket that may not be read is; it is not waited for as an outage is."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    def wait(seconds: float) -> None:
        raise AssertionError(f"waited for {seconds} s")

    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.time.sleep", wait)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        tree = open_tree(f"http://127.0.0.1:{server.server_port}/tree")
        assert [read(tree, "a.jpg"), read(tree, "a.jpg", 1)] == [reason, reason]
        server.shutdown()


def test_all_pages_of_a_bucket_are_listed(remote: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    call, asked = s3fs.S3FileSystem.call_s3, list[Mapping[str, Any]]()

    def call_s3(fs: Any, method: str, **given: Any) -> Any:
        asked.append(given)
        return call(fs, method, **given, MaxKeys=2)

    whole = set(remote.names(LeftOut()))
    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", call_s3)
    assert set(remote.names(LeftOut())) == whole
    assert len(asked) == -(-len(whole) // 2) > 1


@pytest.mark.parametrize("always", [True, False])
def test_an_outage_is_no_empty_file(always: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a web server that answers requests for parts with 503; with `always` it answers all so."""

    class Away(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(503 if always else 200)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(503 if always or self.headers["Range"] else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.WAITS", ())
    with ThreadingHTTPServer(("127.0.0.1", 0), Away) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(Unreachable):
            open_tree(f"http://127.0.0.1:{server.server_port}/tree").read("a.jpg", 100)
        server.shutdown()
