"""A store in a bucket: what its answers mean, and that nothing in it is replaced."""

from __future__ import annotations

import errno
import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.errors import RequestError, Unreachable
from t2i_shards.pipeline.shards.object_store import PROBE, ObjectStore
from t2i_shards.pipeline.shards.store import SINGLE_WRITER, open_store
from tests.pipeline.shards.test_store import local
from tests.pipeline.weak_line import Line, weak_line


class Fs:
    """A file system whose conditional put is refused as `error` says."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def pipe_file(self, *_: Any, **__: Any) -> None:
        raise self.error

    put_file = pipe_file
    cat_file = pipe_file
    ls = pipe_file


def refused(name: str) -> OSError:
    """What s3fs makes of a status 412 whose answer has no `Condition`."""
    from botocore.exceptions import ClientError

    error = OSError(errno.EINVAL, name)
    error.__cause__ = ClientError({"Error": {"Code": name}}, "PutObject")
    return error


def with_fs(error: Exception) -> ObjectStore:
    store = ObjectStore("s3://bucket")
    store._opened = (os.getpid(), Fs(error))
    return store


def test_a_refused_put_is_no_error_in_any_of_its_forms(tmp_path: Path) -> None:
    for error in (FileExistsError("there"), refused("PreconditionFailed")):
        assert with_fs(error).create_bytes("a", b"1") is False
        assert with_fs(error).create("a", local(tmp_path, b"1")) is False


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (refused("InvalidArgument"), OSError, "InvalidArgument"),
        (PermissionError("Forbidden"), RequestError, r"cannot write s3://bucket/\S+: Forbidden"),
        (
            OSError(errno.EIO, "slow"),
            Unreachable,
            r"cannot write s3://bucket/\S+: .*slow; the same command",
        ),
        (TimeoutError("late"), Unreachable, r"cannot write s3://bucket/\S+: late"),
    ],
)
def test_every_other_refusal_is_an_error(
    error: Exception, kind: type[Exception], said: str, tmp_path: Path
) -> None:
    for create in (lambda s: s.create_bytes("a", b"1"), lambda s: s.create("a", local(tmp_path, b"1"))):
        with pytest.raises(kind, match=said):
            create(with_fs(error))


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    store = open_store("s3://no-such-bucket-of-ours/root")
    assert store.names("") == []
    with pytest.raises(FileNotFoundError):
        store.load("a")
    with pytest.raises(
        RequestError, match=r"^cannot write s3://no-such-bucket-of-ours/root/.*bucket does not exist"
    ):
        store.create_bytes("a", b"1")


def test_access_that_is_denied_names_the_place() -> None:
    store = with_fs(PermissionError("Forbidden"))
    for read in (lambda: store.load("a"), lambda: store.names("")):
        with pytest.raises(RequestError, match=r"^access to s3://bucket is denied: Forbidden$"):
            read()


def test_a_folder_that_a_console_made_is_no_stranger(bucket: str) -> None:
    import boto3

    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    for marker in ("root/", "root/images/"):
        client.put_object(Bucket=name, Key=marker, Body=b"")
    store = open_store(f"{bucket}/root")
    assert store.names("") == ["images"]
    assert store.names("images") == []
    store.create_bytes("images/000000.json", b"{}")
    assert store.names("images") == ["000000.json"]
    assert store.names("") == ["images"]


@pytest.fixture
def line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A weak line to the store of the bucket."""
    with weak_line(os.environ["AWS_ENDPOINT_URL"]) as (address, line):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield line


def test_a_conflict_with_another_put_is_waited_out(
    bucket: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.CONFLICT_WAITS", (0.0,) * 3)
    line.fails = lambda method, path, before: "409" if method == "PUT" and before < 2 else None
    store = open_store(f"{bucket}/root")
    assert store.create_bytes("a", b"1") is True
    assert store.create_bytes("a", b"2") is False
    assert line.failed["409"] == 4, "two of the probe, two of the file"
    line.fails = lambda method, path, before: "409"
    with pytest.raises(Unreachable, match=rf"^cannot write {bucket}/root/b: "):
        store.create_bytes("b", b"1")


def test_a_write_that_fails_in_a_way_that_may_pass_is_not_a_wrong_request(bucket: str, line: Line) -> None:
    line.fails = lambda method, path, before: "503" if path.endswith("/a") else None
    with pytest.raises(
        Unreachable, match=rf"^cannot write {bucket}/root/a: .*; the same command continues from here$"
    ):
        open_store(f"{bucket}/root").create_bytes("a", b"1")


def test_a_store_that_cannot_refuse_is_refused(bucket: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those S3-likes that ignore If-None-Match."""
    line.strips = ("if-none-match",)
    for _ in range(2):
        with pytest.raises(RequestError, match=r"ignores If-None-Match.*give --single-writer"):
            open_store(f"{bucket}/root").create_bytes("a", b"1")
    with pytest.raises(FileNotFoundError):
        open_store(f"{bucket}/root").load("a")

    monkeypatch.setenv(SINGLE_WRITER, "1")
    alone = open_store(f"{bucket}/root")
    monkeypatch.delenv(SINGLE_WRITER)
    elsewhere = pickle.loads(pickle.dumps(alone))  # noqa: S301  (as an engine sends it)
    assert alone.create_bytes("a", b"1") is True
    assert elsewhere.create_bytes("a", b"2") is False
    assert bytes(alone.load("a")) == b"1"


def test_a_store_is_asked_once_in_a_tree_of_processes(bucket: str, line: Line) -> None:
    store = open_store(f"{bucket}/root")
    store.create_bytes("a", b"1")
    open_store(f"{bucket}/root").create_bytes("b", b"1")
    asked = [path for method, path in line.asked if method == "PUT" and path.endswith(PROBE)]
    assert len(asked) == 2
    sent = pickle.dumps(store)
    ObjectStore._creating.clear()
    pickle.loads(sent).create_bytes("c", b"1")  # noqa: S301  (as an engine sends it)
    assert [path for method, path in line.asked if method == "PUT" and path.endswith(PROBE)] == asked
    assert store.names("") == ["a", "b", "c"]


def test_no_answer_and_no_credentials_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConnectionError, match=r"^cannot reach s3://bucket/root: Unable to locate credentials$"):
        open_store("s3://bucket/root").load("a")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.WAITS", ())
    store = open_store("s3://bucket/root")
    with pytest.raises(Unreachable, match=r"^cannot write s3://bucket/root/.create-once: Could not connect"):
        store.create_bytes("a", b"1")
    with pytest.raises(Unreachable, match=r"^cannot read s3://bucket/root/a: tried once in .*: Could not connect"):
        store.load("a")
    with pytest.raises(Unreachable, match=r"^cannot read s3://bucket/root: tried once in .*: Could not connect"):
        store.names("")


def test_an_upload_in_parts_is_created_once_too(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 100 MB s3fs sends parts; here the border is drawn at the least that S3 allows."""
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize=None: 5 << 20)
    store = open_store(bucket)
    first, second = random.Random(1).randbytes(11 << 20), b"2" * (11 << 20)
    assert store.create("a", local(tmp_path, first)) is True
    assert store.create("a", local(tmp_path, second)) is False
    assert bytes(store.load("a")) == first


def test_a_small_file_is_read_in_one_request(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt or a table; of a shard the size is asked first, so that its parts can be read at once."""
    import s3fs

    asked: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def note(self: Any, method: str, *of: Any, **named: Any) -> Any:
        asked.append(method)
        return await call(self, method, *of, **named)

    store = open_store(f"{bucket}/root")
    for path in ("images/000000.json", "images/000000.tar"):
        store.create_bytes(path, b"{}")
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", note)
    assert bytes(store.load("images/000000.json")) == b"{}"
    assert asked == ["get_object"]
    assert bytes(store.load("images/000000.tar")) == b"{}"
    assert asked == ["get_object", "head_object", "get_object"]
