"""Only regular files are opened, and what could wait for ever is refused at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from t2i_shards.extractors.regular import NotRegular, open_regular, read_regular


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, make_socket, lambda path: path.symlink_to(os.devnull)],
    ids=["fifo", "folder", "socket", "link to a device"],
)
def test_what_is_no_regular_file_is_refused_by_name(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    make(Path("odd"))
    with pytest.raises(NotRegular, match=r"^odd: must be a regular file$"):
        read_regular("odd")


def test_a_file_is_read_whole_through_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 300)
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert read_regular(tmp_path / name) == bytes(range(256)) * 300
        with open_regular(tmp_path / name) as file:
            file.seek(255)
            assert file.read(2) == b"\xff\x00"


def test_no_file_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")


def test_a_fifo_that_takes_a_file_s_place_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    regular = (tmp_path / "file").stat()
    os.mkfifo(tmp_path / "fifo")
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("t2i_shards.extractors.regular.os.stat", lambda path: regular)
    with pytest.raises(NotRegular):
        open_regular(tmp_path / "fifo")
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before, "the handle is left open"
