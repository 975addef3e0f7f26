"""A shard read in all its columns while threads verify its bytes: hashlib releases the interpreter lock."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from t2i_shards.pipeline.dataset.aligned import open_aligned
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.shards.read import check_bytes, load_tar, read_keyed
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.tar import END, TarWriter

CHUNK = 8 << 20
"""Bytes that are hashed in one go: each time, the thread waits for the interpreter."""
MOST_PARTS = os.sysconf("SC_IOV_MAX")


class Loaded:
    """A shard of all columns whose bytes are being verified: nothing made of it may be published before `check`.

    samples: all of images, with the members of every column where all have them. digest: of the receipts.
    """

    def __init__(self, dataset: Dataset, columns: Sequence[str], shard: int, threads: ThreadPoolExecutor) -> None:
        self.shard = shard
        self._checks: list[Future[None]] = []

        def read(store: Store, receipt: Receipt) -> list[Sample]:
            data = load_tar(store, receipt)
            self._checks.append(threads.submit(check_bytes, data, receipt))
            return read_keyed(data, receipt)

        aligned = open_aligned(dataset.store, shard, columns, read)
        try:
            whole = aligned.zip()
        except Exception:
            self.check()  # what is damaged is to be called so
            raise
        self.digest = digest_json({column: receipt.identity for column, receipt in aligned.receipts.items()})
        self.samples = [Sample(s.key, whole.get(s.key, s.members)) for s in aligned.samples[IMAGES]]

    def check(self) -> None:
        """Wait until all bytes are verified. Raises DamagedShard."""
        for check in self._checks:
            check.result()


class ConcurrentTarWriter(TarWriter):
    """A TarWriter that writes many members with one call, and hashes what is in the file on a thread.

    file: opened for writing and reading. threads: must have but one.
    """

    def __init__(self, file: BinaryIO, threads: ThreadPoolExecutor) -> None:
        super().__init__(file)
        self._pending: list[bytes | memoryview] = []
        self._size = 0
        self._submit: Callable[..., Future[None]] = threads.submit
        self._jobs: list[Future[None]] = []

    def _write(self, *parts: bytes | memoryview) -> None:
        self._pending += parts
        self._size += sum(map(len, parts))
        if self._size >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        write_all(self._file.fileno(), self._pending)
        start, self.bytes = self.bytes, self.bytes + self._size
        self._pending, self._size = [], 0
        self._jobs.append(self._submit(self._hash_written, start, self.bytes))

    def _hash_written(self, start: int, stop: int) -> None:
        # The file's own pages, so that nothing is copied or kept for it.
        with mmap.mmap(self._file.fileno(), stop, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            self._hash.update(view[start:stop])

    def end(self) -> None:
        """Write the end; the digest need not be known yet."""
        self._write(END)
        self._flush()

    def digest(self) -> str:
        """The sha256 of the whole file, in hexadecimal, once it is known."""
        for job in self._jobs:
            job.result()
        return self._hash.hexdigest()

    def close(self) -> str:
        self.end()
        return self.digest()


def write_all(file: int, parts: Sequence[bytes | memoryview]) -> None:
    """Write the parts to a file by its descriptor. Raises OSError, when the disk is full too."""
    for first in range(0, len(parts), MOST_PARTS):
        some = parts[first : first + MOST_PARTS]
        written = os.writev(file, some)
        if written < sum(map(len, some)):
            rest = memoryview(b"".join(some))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
