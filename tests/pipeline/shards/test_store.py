"""Stores: a file appears whole, once, or not at all; on a folder and on S3."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.object_store import ObjectStore
from t2i_shards.pipeline.shards.store import Store, open_store

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


def test_no_file_appears_when_the_source_vanishes(store: Store, tmp_path: Path) -> None:
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
        "import os, sys; from t2i_shards.pipeline.shards.store import open_store\n"
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


def test_names_by_their_beginnings_and_many_discarded_at_once(store: Store) -> None:
    names = [f"{number:06d}.json" for number in (0, 7, 999, 1000, 12_345)]
    for name in names:
        store.create_bytes(f"sketch/{name}", b"1")
    store.create_bytes("sketch/rollups/000000.parquet", b"1")
    assert store.names_from("sketch", ("000", "012")) == [*names[:3], names[4]]
    assert store.names_from("sketch", ("5",)) == store.names_from("nothing", ("0",)) == []
    store.discard_all([f"sketch/{name}" for name in ("gone.json", *names[:4])])
    assert store.names("sketch") == [names[4], "rollups"]


def test_what_s3_does_not_remove_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"{bucket}/root")
    store.create_bytes("drafts/a", b"1")
    denied = {"Errors": [{"Key": "root/drafts/a", "Code": "AccessDenied", "Message": "Access Denied"}]}
    monkeypatch.setattr(store._fs, "call_s3", lambda *of, **asked: denied)  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match="root/drafts/a: Access Denied"):
        store.discard_all(["drafts/a"])
