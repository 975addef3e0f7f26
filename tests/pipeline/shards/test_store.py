"""Stores: a file appears whole, once, or not at all; on a folder and on S3."""

from __future__ import annotations

import errno
import os
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RequestError, Unreachable
from pipeline.shards.store import PROBE, SINGLE_WRITER, FolderStore, ObjectStore, Store, map_file, open_store
from tests.pipeline.weak_line import Line, weak_line

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return open_store(request.getfixturevalue("bucket") + "/some/root")
    return open_store(tmp_path / "some" / "root")


def local(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "source"
    path.write_bytes(data)
    return path


def test_what_is_created_can_be_read(store: Store, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(100_000)
    assert store.create("images/000000.tar", local(tmp_path, data)) is True
    assert store.create_bytes("images/000000.json", b"{}") is True
    assert store.create_bytes("dataset.json", b"") is True
    assert bytes(store.load("images/000000.tar")) == data
    assert bytes(store.load("dataset.json")) == b""
    assert store.names("images") == ["000000.json", "000000.tar"]
    assert store.names("") == ["dataset.json", "images"]


def test_nothing_is_overwritten(store: Store, tmp_path: Path) -> None:
    assert store.create_bytes("a/b", b"first")
    assert store.create_bytes("a/b", b"second") is False
    assert store.create("a/b", local(tmp_path, b"third")) is False
    assert bytes(store.load("a/b")) == b"first"
    assert store.create("a/c", local(tmp_path, b"first"))
    assert store.create_bytes("a/c", b"second") is False
    assert bytes(store.load("a/c")) == b"first"


def test_what_is_not_there(store: Store) -> None:
    assert store.names("nothing/here") == []
    assert store.names("") == []
    with pytest.raises(FileNotFoundError):
        store.load("nothing")


def test_a_race_has_one_winner(store: Store, tmp_path: Path) -> None:
    for turn in range(6):
        barrier = threading.Barrier(4)
        won: list[int] = []

        def race(
            number: int, turn: int = turn, barrier: threading.Barrier = barrier, won: list[int] = won
        ) -> None:
            source = local(tmp_path / str(number), bytes([number]) * 10_000)
            barrier.wait()
            if store.create(f"race/{turn}", source):
                won.append(number)

        for number in range(4):
            (tmp_path / str(number)).mkdir(exist_ok=True)
        threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert bytes(store.load(f"race/{turn}")) == bytes([won[0]]) * 10_000


def test_nothing_stands_when_the_source_vanishes(store: Store, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="source"):
        store.create("images/000000.tar", tmp_path / "source")
    assert store.names("images") == []


def test_scratch_is_hidden_and_goes_away(store: Store) -> None:
    with store.scratch() as folder:
        (folder / "half").write_bytes(b"x")
        assert store.names("") == []
    assert not folder.exists()
    with pytest.raises(FileNotFoundError), store.scratch() as folder:
        (folder / "half").rename(folder / "no-such-folder" / "half")
    assert not folder.exists()
    assert store.names("") == []


def test_a_store_travels_to_another_process(store: Store) -> None:
    store.create_bytes("a", b"1")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301  (as an engine sends it)
    assert bytes(copy.load("a")) == b"1"
    assert copy.root == store.root
    # As a loader of training samples forks: after the store was used.
    script = (
        "import os, sys; from pipeline.shards.store import open_store\n"
        "store = open_store(sys.argv[1]); store.load('a')\n"
        "child = os.fork(); os.write(1, bytes(store.load('a'))); child and os.waitpid(child, 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, store.root], cwd=CHECKOUT, capture_output=True, text=True, timeout=600
    )
    assert (done.stdout, done.stderr) == ("11", "")


def test_roots(tmp_path: Path) -> None:
    assert isinstance(open_store("s3://bucket/x/"), ObjectStore)
    assert open_store("s3://bucket/x/").root == "s3://bucket/x"
    assert isinstance(open_store(str(tmp_path)), FolderStore)
    assert open_store(f"file://{tmp_path}").root == str(tmp_path)
    with pytest.raises(RequestError, match="cannot open nonsense://x"):
        open_store("nonsense://x").load("a")


def test_a_relative_root_survives_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("root")
    store.create_bytes("a", b"1")
    monkeypatch.chdir("/")
    assert bytes(store.load("a")) == b"1"


def test_a_file_on_another_device_is_copied_then_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path / "root")
    source = local(tmp_path, b"data")
    linked: list[tuple[str, str]] = []
    link = os.link

    def note(a: Any, b: Any) -> None:
        linked.append((os.fspath(a), os.fspath(b)))
        link(a, b)

    monkeypatch.setattr("os.link", note)
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev or not os.access(other, os.W_OK):
        pytest.skip("needs a second file system at /dev/shm")
    elsewhere = other / f"t2i-shards-test-{os.getpid()}"
    try:
        elsewhere.write_bytes(b"data")
        assert store.create("a", elsewhere) is True
        assert store.create("a", elsewhere) is False
    finally:
        elsewhere.unlink()
    assert store.create("b", source) is True
    assert all(".scratch" in a or a == str(source) for a, _ in linked)
    assert bytes(store.load("a")) == b"data"
    assert not list((tmp_path / "root" / ".scratch").iterdir())


def test_data_and_name_reach_the_disk_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def note(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any) -> Any:
            what = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else args[1]
            done.append(f"{name} {Path(what).name}")
            return real(*args)

        monkeypatch.setattr(os, name, call)

    note("fsync")
    note("link")
    FolderStore(tmp_path / "root").create("images/a", local(tmp_path, b"data"))
    assert done == ["fsync source", "link a", "fsync images"]


def test_the_scratch_of_the_dead_is_swept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    script = (
        "import os, sys; from pathlib import Path; from pipeline.shards.store import FolderStore\n"
        "with FolderStore(Path(sys.argv[1])).scratch() as s: (s / 'x').write_text('1'); os.kill(os.getpid(), 9)"
    )
    dead = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=CHECKOUT)
    assert dead.returncode == -9
    assert len(list((tmp_path / ".scratch").iterdir())) == 1
    with store.scratch() as alive:
        foreign = tmp_path / ".scratch" / "another-machine.1.x"
        foreign.mkdir()
        store.sweep()
        assert sorted((tmp_path / ".scratch").iterdir()) == sorted([alive, foreign])


def test_an_empty_file_can_be_mapped(tmp_path: Path) -> None:
    assert bytes(map_file(local(tmp_path, b""))) == b""


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR])
def test_a_place_that_may_not_be_written_is_a_wrong_request(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.mkdir", refuse)
    with pytest.raises(RequestError, match=f"cannot write to {tmp_path}/root: .*{os.strerror(number)}"):
        FolderStore(tmp_path / "root").create_bytes("a", b"1")


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


def test_a_refused_put_is_no_error_however_it_is_told(tmp_path: Path) -> None:
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
    monkeypatch.setattr("pipeline.shards.remote_read.CONFLICT_WAITS", (0.0,) * 3)
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
        Unreachable, match=rf"^cannot write {bucket}/root/a: .*; the same command goes on from here$"
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
    monkeypatch.setattr("pipeline.shards.remote_read.WAITS", ())
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


@pytest.mark.parametrize("root", ["s3://", "s3:///", "gs://"])
def test_a_root_without_bucket_is_refused(root: str) -> None:
    with pytest.raises(RequestError, match="must name a bucket"):
        open_store(root)


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "images/../../secret", "a\0b"])
def test_no_path_leads_out_of_a_store(path: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for use in (store.load, store.names, store.discard, lambda path: store.create_bytes(path, b"1")):
        with pytest.raises(RequestError, match=r"must be relative and without '\.\.', not "):
            use(path)
    with pytest.raises(RequestError, match="must be relative"):
        store.create(path, local(tmp_path, b"1"))
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "dataset.json")
    with pytest.raises(OSError, match=r"dataset\.json: must be a regular file"):
        FolderStore(tmp_path).load("dataset.json")
