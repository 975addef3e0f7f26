"""Files and folders that appear whole or not at all, and never through a link.

What is written goes to a new file in the same folder, which is then renamed. A link of that name, as a received
folder may hold, is replaced; its target is not touched.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer."""


def write_file(path: Path, data: bytes | str) -> None:
    """Make the file, or replace it. Text becomes UTF-8; what that cannot express of a path is escaped."""
    with replace_file(path) as scratch:
        scratch.write_bytes(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Make the file, or replace it."""
    write_file(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A scratch file to fill, which takes the name at the end of the block; nothing happens if that raises."""
    with _scratch_for(path) as scratch:
        yield scratch
        flush(scratch)
        scratch.replace(path)
    flush(path.parent)


@contextmanager
def create_file(path: Path) -> Iterator[Path]:
    """Like `replace_file`, but the block ends with FileExistsError if there is something of that name."""
    with _scratch_for(path) as scratch:
        yield scratch
        flush(scratch)
        try:
            os.link(scratch, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))  # claims the name
            scratch.replace(path)
    flush(path.parent)


@contextmanager
def commit_folder(final: Path, sync: bool = True) -> Iterator[Path]:
    """A folder to fill, which takes the final name once all in it is on the disk. Replaces an older one.

    sync: False for many files that are quickly made again, which a loss of power may leave empty.
    Raises BlockingIOError while another process fills it.
    """
    scratch = final.with_name(f".{final.name}.part")
    if scratch.is_dir() and not scratch.is_symlink():
        os.close(_lock_folder(scratch, final))  # raises where it is in use
    _remove(scratch)
    scratch.mkdir(parents=True)
    handle = _lock_folder(scratch, final)
    try:
        try:
            yield scratch
            for path in (scratch, *scratch.rglob("*")) if sync else ():
                flush(path)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        _rename(scratch, final)
    finally:
        os.close(handle)


def _rename(scratch: Path, final: Path) -> None:
    """Give the folder its final name, and remove an older one."""
    if os.path.lexists(final):
        replaced = _set_aside(final)
        scratch.rename(final)
        _remove(replaced)
    else:
        scratch.rename(final)
    flush(final.parent)


def _lock_folder(scratch: Path, final: Path) -> int:
    """A handle that keeps the scratch folder from other processes until it is closed."""
    handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise BlockingIOError(errno.EAGAIN, "another process is writing this folder now", str(final)) from None
    except OSError:  # not every file system has locks
        pass
    return handle


def remove_folder(folder: Path) -> None:
    """Remove a folder at once: a kill leaves all of it or, under a hidden name, what was not removed yet."""
    _remove(_set_aside(folder))


def _set_aside(folder: Path) -> Path:
    """Rename a folder, so that no reader sees it half removed. Its new path."""
    aside = folder.with_name(f".{folder.name}.old")
    _remove(aside)
    folder.rename(aside)
    return aside


def _remove(folder: Path) -> None:
    """Remove a folder, or a link in its place, if it is there."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _scratch_for(path: Path) -> Iterator[Path]:
    """An empty file next to `path`, locked for as long as it is used; gone afterwards unless it was moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    scratch, handle = _open_scratch(path)
    try:
        yield scratch
    finally:
        os.close(handle)
        scratch.unlink(missing_ok=True)


def _open_scratch(path: Path) -> tuple[Path, int]:
    while True:
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
        handle = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # else swept before it was locked
            return scratch, handle
        os.close(handle)


def _sweep(path: Path) -> None:
    """Remove the scratch files for this path whose writers are gone."""
    start = f".{path.name}."
    for name in os.listdir(path.parent):
        if name.startswith(start) and name.endswith(".part") and len(name) == len(start) + len(".part") + 12:
            with suppress(OSError):
                _remove_unlocked(path.with_name(name))


def _remove_unlocked(scratch: Path) -> None:
    handle = os.open(scratch, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            scratch.unlink()
    finally:
        os.close(handle)


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """$T2I_SHARDS_CACHE, or ~/.cache/t2i-shards."""
    return Path(os.environ.get("T2I_SHARDS_CACHE") or Path.home() / ".cache" / "t2i-shards")


def sha256_of(path: Path) -> str:
    """Hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
