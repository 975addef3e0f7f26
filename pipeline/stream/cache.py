"""The cache: shards of an object store, in a folder of this machine that its processes share.

A file is named by the sha256 of its bytes and appears whole. Who may do what is settled by locks that the kernel
takes back from the dead (flock): one process fetches a shard while the others wait, and a file that any process
has open is locked, so that it is never removed to make room.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from t2i_shards.extractors.atomic import cache_folder
from t2i_shards.pipeline.errors import DamagedShard, RequestError, describe_error
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.read import gone
from t2i_shards.pipeline.shards.receipt import check_keys
from t2i_shards.pipeline.shards.spread_store import SpreadStore
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stream.index import Vouched, index_shard
from t2i_shards.pipeline.stream.locks import locked, take_away
from t2i_shards.pipeline.stream.order import cut_blocks
from t2i_shards.pipeline.stream.verified import VerifiedShard, note, open_verified

log = logging.getLogger(__name__)

CACHE_BYTES = 50 * 10**9
"""Of shards in the cache, unless asked for otherwise; and never more than half of what is free on the disk."""


class ShardCache:
    """At most `bound` bytes of the shards of `store`, in `folder`; the least recently used leave first.

    Where all that is there is in use and there is no room, a shard is read past the cache.
    """

    def __init__(self, store: Store, folder: Path, bound: int) -> None:
        self._store, self._folder, self._bound = store, folder, bound
        self._told = False

    def open(self, vouched: Vouched) -> VerifiedShard:
        """A shard, verified. Raises DamagedShard, and FileNotFoundError when the store has no such file."""
        file = self._find(vouched)
        if file is not None:
            try:
                return open_verified(file, vouched)
            except DamagedShard as error:
                log.warning("a cached copy is damaged and is fetched again: %s", error)
                with self._lock("room"):
                    self._file(vouched).unlink(missing_ok=True)
        # A lock for each digest would leave a file for each; of two shards under one lock the second waits.
        with self._lock(vouched.sha256[:2]):
            file = self._find(vouched)
            return self._fetch(vouched) if file is None else open_verified(file, vouched)

    def _file(self, vouched: Vouched) -> Path:
        return self._folder / f"{vouched.sha256}.tar"

    def _find(self, vouched: Vouched) -> BinaryIO | None:
        """The cached file, which is in use for as long as it is open."""
        try:
            file = open(self._file(vouched), "rb", buffering=0)  # noqa: SIM115
        except FileNotFoundError:
            return None
        fcntl.flock(file, fcntl.LOCK_SH)
        found = os.fstat(file.fileno())
        if found.st_nlink == 0 or found.st_size != vouched.bytes:
            file.close()
            return None
        os.utime(file.fileno())
        return file

    def _fetch(self, vouched: Vouched) -> VerifiedShard:
        data = self._store.open(vouched.path)
        entries = index_shard(data, vouched)
        try:
            file = self._keep(vouched, data)
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning("the cache cannot be written, shards are read without it: %s", describe_error(error))
            file = None
        return VerifiedShard(data, entries, vouched) if file is None else note(file, vouched, entries)

    def _keep(self, vouched: Vouched, data: BinaryIO) -> BinaryIO | None:
        """The cached file, made of these bytes; None where there is no room."""
        part = self._reserve(vouched)
        if part is None:
            log.warning("no room in the cache for %s: all of it is in use", vouched.path)
            return None
        try:
            with part, locked(part):
                data.seek(0)
                shutil.copyfileobj(data, part, 1 << 20)
                part.flush()
                with self._lock("room"):
                    os.rename(part.name, self._file(vouched))
        except OSError:
            Path(part.name).unlink(missing_ok=True)
            raise
        return self._find(vouched)

    def _reserve(self, vouched: Vouched) -> BinaryIO | None:
        """A file of the shard's size to write it to, locked while it is open; None when there is no room."""
        with self._lock("room"):
            for left_behind in self._folder.glob("*.part"):
                take_away(left_behind)
            files = [(path, path.stat()) for path in self._folder.glob("*.*")]
            excess = sum(found.st_size for _, found in files) + vouched.bytes - self._bound
            for path, found in sorted(files, key=lambda file: file[1].st_mtime_ns):
                if excess > 0 and take_away(path):
                    excess -= found.st_size
            if excess > 0:
                return None
            part = open(self._folder / f"{vouched.sha256}.part", "wb")  # noqa: SIM115
            fcntl.flock(part, fcntl.LOCK_EX)  # from here on it is seen to be in use; `_keep` lets go of it
            part.truncate(vouched.bytes)
            return part

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        locks = self._folder / "locks"
        with ExitStack() as stack:
            with suppress(OSError):  # where no lock is possible nothing can be written either
                locks.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(stack.enter_context(open(locks / name, "ab"))))
            yield


def open_vouched(store: Store, vouched: Vouched, cache: ShardCache | None = None) -> VerifiedShard:
    """A shard, verified. Raises DamagedShard, also for a file that is gone."""
    try:
        found = cache.open(vouched) if cache else open_verified(store.open(vouched.path), vouched)
    except FileNotFoundError:
        raise gone(vouched.path) from None
    keys = [entry.key for entry in found.entries]
    check_keys(vouched.path, keys, vouched.samples, vouched.keys)
    return found


def open_cache(store: Store, sizes: Iterable[int], folder: Path | None, limit: int | None) -> ShardCache | None:
    """The cache in `folder`, of at most `limit` bytes; None for a store in a folder of this machine.

    sizes: of each shard, in bytes. Without `folder` it is one of the user's own cache, and without `limit` it has
    at most CACHE_BYTES; a limit of 0 asks for none. Where nothing was asked for and there is no room for two
    blocks of shards, or the folder cannot be written, a warning says so and the shards come without a cache.
    Raises RequestError where what was asked for is not possible.
    """
    if isinstance(store.store if isinstance(store, SpreadStore) else store, FolderStore) or limit == 0:
        return None
    try:
        return _open(store, sorted(sizes), folder, limit)
    except (RequestError, OSError, RuntimeError) as error:  # the last where the user has no home
        if isinstance(error, RequestError) and (folder is not None or limit is not None):
            raise
        why = (
            str(error)
            if isinstance(error, RequestError)
            else f"the cache cannot be written: {describe_error(error)}"
        )
        log.warning("%s is read without a cache, and all of it again in each epoch: %s", store.root, why)
        return None


def _open(store: Store, sizes: list[int], folder: Path | None, limit: int | None) -> ShardCache:
    place = folder or cache_folder() / "shards"
    place.mkdir(parents=True, exist_ok=True)
    if limit is None:
        limit = min(CACHE_BYTES, shutil.disk_usage(place).free // 2)
    two_blocks = sum(sizes[-2 * max(map(len, cut_blocks(sizes))) :])
    if limit < two_blocks:
        raise RequestError(f"the cache must have room for two blocks of shards, {two_blocks} bytes, not {limit}")
    return ShardCache(store, place, limit)
