"""Scratch folders: whose they are, when they are swept, and what is never touched."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import time
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.scratch import (
    LOGS_AGE,
    MOST_AGE,
    make_scratch,
    sweep_scratch,
    sweep_sessions,
    temporary_folder,
)
from t2i_shards.pipeline.shards.folder_store import FolderStore

ID = "0123456789abcdef" * 2


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of this user's folder in a new TMPDIR."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"t2i-shards-{os.getuid()}"


def test_the_temporary_folder_is_this_users_alone(temporary: Path) -> None:
    assert temporary_folder() == temporary
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
    temporary.chmod(0o755)
    assert stat.S_IMODE(temporary_folder().stat().st_mode) == 0o700


def test_a_temporary_folder_that_another_user_made_is_refused(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    temporary.symlink_to("elsewhere")
    with pytest.raises(RequestError, match=r"must be a folder of this user, and is a link: give another TMPDIR"):
        temporary_folder()
    temporary.unlink()
    temporary.mkdir()
    if os.getuid():
        pytest.skip("only root can give a folder to another user")
    os.chown(temporary, 65534, 65534)
    with pytest.raises(RequestError, match=r"and is the user 65534's: give another TMPDIR"):
        temporary_folder()


def scratch(parent: Path, name: str, age: float) -> Path:
    """A scratch folder with a file that was last written so many seconds ago."""
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "file").write_text("")
    for path in (folder / "file", folder):
        os.utime(path, (time.time() - age,) * 2)
    return folder


def test_what_other_machines_left_is_swept_by_its_age(tmp_path: Path) -> None:
    old, hour = MOST_AGE + 60, 3600
    swept = scratch(tmp_path, f"pod-1.example.7.{ID}", old)
    kept = [
        scratch(tmp_path, f"pod-2.7.{ID}", hour),
        scratch(tmp_path, f"{socket.gethostname()}.{os.getpid()}.{ID}", old),  # its process works still
        scratch(tmp_path, "mine", old),
        scratch(tmp_path, "pod-1.7.notes", old),
        scratch(tmp_path, f"{socket.gethostname()}.x.{ID}", old),
    ]
    working = scratch(tmp_path, f"pod-3.7.{ID}", old)
    (working / "file").write_text("written now")
    sweep_scratch(tmp_path)
    assert not swept.exists()
    assert sorted(tmp_path.iterdir()) == sorted([*kept, working])


def test_what_rays_of_dead_drivers_left_is_swept_after_a_day(tmp_path: Path) -> None:
    old, dead, when = LOGS_AGE + 60, 999999999, "session_2026-01-31_23-59-59_123456"
    swept = scratch(tmp_path, f"{when}_{dead}", old)
    kept = [
        scratch(tmp_path, f"{when}_{dead - 1}", LOGS_AGE - 600),
        scratch(tmp_path, f"{when}_{os.getpid()}", old),
        scratch(tmp_path, "session_of_mine", old),
        scratch(tmp_path, f"other_{dead}", old),
    ]
    (tmp_path / "session_latest").symlink_to(swept.name)
    (tmp_path / f"{when}_{dead - 2}").symlink_to(kept[2].name)
    sweep_sessions(tmp_path)
    assert not swept.exists()
    assert all((path / "file").exists() for path in kept)


def test_scratch_that_is_a_link_is_neither_written_to_nor_swept(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "root"
    victim = scratch(home, f"{socket.gethostname()}.999999999.{ID}", 0)
    root.mkdir()
    (root / ".scratch").symlink_to(home)
    store = FolderStore(root)
    with pytest.raises(RequestError, match=r"\.scratch must be a folder, and is a link to .*home"):
        store.sweep()
    with pytest.raises(RequestError, match=r"\.scratch must be a folder"):
        store.create_bytes("a", b"1")
    assert list(home.iterdir()) == [victim]
    # A link in its place is no scratch of ours either.
    (root / ".scratch").unlink()
    make_scratch(root / ".scratch").rmdir()
    (root / ".scratch" / victim.name).symlink_to(victim)
    store.sweep()
    assert (victim / "file").exists()
