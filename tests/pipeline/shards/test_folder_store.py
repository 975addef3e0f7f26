"""A store in a folder: links, copies, scratch, and what reaches the disk in which order."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.folder_store import FolderStore, map_file
from t2i_shards.pipeline.shards.store import open_store
from tests.pipeline.shards.test_store import CHECKOUT, local


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
        "import os, sys; from pathlib import Path\n"
        "from t2i_shards.pipeline.shards.folder_store import FolderStore\n"
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


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "dataset.json")
    with pytest.raises(OSError, match=r"dataset\.json: must be a regular file"):
        FolderStore(tmp_path).load("dataset.json")
