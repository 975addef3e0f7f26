"""Local folders to work in, each named after the process that made it, so that those of dead ones are removed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from t2i_shards.pipeline.errors import RequestError

MOST_AGE = 3 * 86400
"""Seconds after which what another machine left is given up: nothing works on one shard for so long."""

LOGS_AGE = 86400
"""Seconds for which the logs of a Ray that has ended may be looked at."""

SESSION = re.compile(r"session_[0-9-]+_[0-9-]+_[0-9]+_(?P<pid>[0-9]+)")
"""What Ray calls the folder of its files: date, time, microseconds and driver."""
NAME = re.compile(r"(?P<host>.+)\.(?P<pid>[0-9]+)\.[0-9a-f]{32}")


def temporary_folder(place: Path | None = None) -> Path:
    """t2i-shards-UID in $TMPDIR (or `place`), for scratch of object stores and Ray's files: this user's alone.

    Raises RequestError where another user has taken the name.
    """
    folder = (place or Path(tempfile.gettempdir())) / f"t2i-shards-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        what = "a link" if stat.S_ISLNK(found.st_mode) else f"the user {found.st_uid}'s"
        raise RequestError(f"{folder} must be a folder of this user, and is {what}: give another TMPDIR")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def make_scratch(parent: Path) -> Path:
    """A new folder in `parent`. Raises RequestError where that is a link, and OSError."""
    _refuse_link(parent)
    scratch = parent / f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}"
    scratch.mkdir(parents=True)
    return scratch


def sweep_scratch(parent: Path) -> None:
    """Remove the scratch of processes of this machine that are no more, and what is old of other machines."""
    _refuse_link(parent)
    strangers = []
    for folder in parent.iterdir() if parent.is_dir() else ():
        name = NAME.fullmatch(folder.name)
        if not name:
            continue
        if name["host"] != socket.gethostname():
            strangers.append(folder)
        elif not _runs(int(name["pid"])):
            shutil.rmtree(folder, ignore_errors=True)
    if strangers:
        scratch = make_scratch(parent)
        now = scratch.stat().st_mtime  # by the file system's clock, as the machines' may differ
        scratch.rmdir()
        for folder in strangers:
            if now - _last_change(folder) > MOST_AGE:
                shutil.rmtree(folder, ignore_errors=True)


def sweep_sessions(folder: Path) -> None:
    """Remove Ray's files, its logs above all, of drivers that are no more and that wrote nothing for a day."""
    for session in folder.glob("session_*"):
        name = SESSION.fullmatch(session.name)
        if not name or session.is_symlink() or _runs(int(name["pid"])):
            continue
        if time.time() - _last_change(session) > LOGS_AGE:
            shutil.rmtree(session, ignore_errors=True)


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise RequestError(
            f"{folder} must be a folder, and is a link to {os.readlink(folder)}: nothing is written there"
        )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _last_change(folder: Path) -> float:
    """Of the folder or anything in it, in seconds since the epoch."""
    times = [float("-inf")]
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times)
