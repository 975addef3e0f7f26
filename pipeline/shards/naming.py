"""Giving a new file its final name, unless there is something of that name: then nothing happens.

A hard link does so at once. File systems without links (FUSE, SMB, some NFS) may have a rename that refuses to
replace; where they have not, those who write to a folder take turns by a lock on a hidden file in it, which the
kernel takes back from the dead.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path

from t2i_shards.extractors.atomic import NO_LINKS
from t2i_shards.pipeline.errors import RequestError

LOCK = ".lock"
"""Of a folder; a hidden name is no file of a store."""
_NO_REPLACE = 1
_HERE = -100
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def link_new(source: Path, final: Path) -> bool | None:
    """Link `source` to the new name. False when it is taken; None on a file system without links."""
    try:
        os.link(source, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (*NO_LINKS, errno.EIO):  # which is rclone's answer
            raise
        return None
    return True


def rename_new(source: Path, final: Path) -> bool:
    """Move `source` to the new name, on the same file system. False when it is taken.

    Raises RequestError where neither the file system nor a lock can promise that nothing is replaced.
    """
    renamed = _rename_unless_taken(source, final)
    return _rename_in_turn(source, final) if renamed is None else renamed


def _rename_unless_taken(source: Path, final: Path) -> bool | None:
    """By Linux's renameat2; None where there is none, or not for this file system."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return None
    if rename(_HERE, os.fsencode(source), _HERE, os.fsencode(final), _NO_REPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in _UNSUPPORTED:
        return None
    raise OSError(number, os.strerror(number), os.fspath(final))


def _rename_in_turn(source: Path, final: Path) -> bool:
    with open(final.parent / LOCK, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise RequestError(
                f"{final.parent} has neither hard links nor locks ({error.strerror}), so two writers could "
                "replace each other's files; use a folder of another file system"
            ) from None
        if os.path.lexists(final):
            return False
        os.rename(source, final)
        return True


def check_path(root: str, path: str) -> str:
    """The path. Raises RequestError for one that leads out of the store, as a received file may name it."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise RequestError(f"a path in {root} must be relative and without '..', not {path!r}")
    return path
