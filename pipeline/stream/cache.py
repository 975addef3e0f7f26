"""The cache: shards of a store far away, in a folder of this machine that its processes share.

A file is named by the sha256 of its bytes and appears whole. Who may do what is settled by locks that the kernel
takes back from the dead (flock): one process fetches a shard while the others wait, and a file that any process
has mapped is locked by the mapping itself, so that it is never taken away to make room.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.commit import tar_path
from pipeline.dataset import check_bytes, load_tar, read_verified
from pipeline.errors import DamagedShard
from pipeline.receipt import Receipt
from pipeline.sample import Sample
from pipeline.store import Store

log = logging.getLogger(__name__)


class ShardCache:
    """At most `bound` bytes of the shards of `store`, in `folder`; the least recently used leave first.

    Where all that is there is in use and there is no room, a shard is read past the cache.
    """

    def __init__(self, store: Store, folder: Path, bound: int) -> None:
        self._store, self._folder, self._bound = store, folder, bound

    def load(self, receipt: Receipt) -> list[Sample]:
        """The verified samples of a shard. Raises DamagedShard."""
        data = self._find(receipt)
        if data is not None:
            try:
                return read_verified(data, receipt)
            except DamagedShard as error:
                log.warning("a cached copy is damaged and is fetched again: %s", error)
                with self._lock("room"):
                    self._file(receipt).unlink(missing_ok=True)
        return read_verified(self._get(receipt), receipt)

    def _file(self, receipt: Receipt) -> Path:
        return self._folder / f"{receipt.sha256}.tar"

    def _find(self, receipt: Receipt) -> memoryview | None:
        """The bytes of the cached file, which is in use for as long as they are."""
        try:
            with open(self._file(receipt), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                found = os.fstat(file.fileno())
                if found.st_nlink == 0 or found.st_size != receipt.bytes:
                    return None
                os.utime(file.fileno())
                # The mapping has a duplicate of the file's handle, and with it the lock.
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError:
            return None

    def _get(self, receipt: Receipt) -> memoryview:
        # A lock for each digest would leave a file for each; of two shards under one lock the second waits.
        with self._lock(receipt.sha256[:2]):
            data = self._find(receipt)
            return self._fetch(receipt) if data is None else data

    def _fetch(self, receipt: Receipt) -> memoryview:
        data = load_tar(self._store, receipt)
        check_bytes(data, receipt)
        part = self._reserve(receipt)
        if part is None:
            log.warning(
                "no room in the cache for %s: all of it is in use", tar_path(receipt.column, receipt.shard)
            )
            return data
        with part, _locked(part, fcntl.LOCK_EX):
            part.write(data)
            part.flush()
            with self._lock("room"):
                os.rename(part.name, self._file(receipt))
        found = self._find(receipt)
        return data if found is None else found

    def _reserve(self, receipt: Receipt) -> BinaryIO | None:
        """A file of the shard's size to write it to, locked while it is open; None when there is no room."""
        with self._lock("room"):
            for left_behind in self._folder.glob("*.part"):
                _take_away(left_behind)
            files = [(path, path.stat()) for path in self._folder.glob("*.*")]
            excess = sum(found.st_size for _, found in files) + receipt.bytes - self._bound
            for path, found in sorted(files, key=lambda file: file[1].st_mtime_ns):
                if excess > 0 and _take_away(path):
                    excess -= found.st_size
            if excess > 0:
                return None
            part = open(self._folder / f"{receipt.sha256}.part", "wb")  # noqa: SIM115
            fcntl.flock(part, fcntl.LOCK_EX)  # from here on it is seen to be in use; `_fetch` lets go of it
            part.truncate(receipt.bytes)
            return part

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        locks = self._folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with open(locks / name, "ab") as file, _locked(file, fcntl.LOCK_EX):
            yield


@contextmanager
def _locked(file: BinaryIO, how: int) -> Iterator[None]:
    """Raises BlockingIOError where `how` says not to wait."""
    fcntl.flock(file, how)
    try:
        yield
    finally:
        # Not by closing alone: a process that was forked meanwhile has the file open too.
        fcntl.flock(file, fcntl.LOCK_UN)


def _take_away(path: Path) -> bool:
    """Remove a file that nobody uses; False when somebody does."""
    try:
        with open(path, "rb") as file, _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            path.unlink()
            return True
    except BlockingIOError:
        return False
