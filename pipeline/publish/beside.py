"""Hashing beside other work: hashlib lets go of the interpreter, so a digest need not be waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from pipeline.commit import load_receipt, tar_path
from pipeline.dataset import IMAGES, Dataset, check_bytes, load_tar
from pipeline.errors import DamagedShard, ShardNotReady
from pipeline.receipt import Receipt, digest_json, shard_name
from pipeline.sample import Sample, digest_keys
from pipeline.stream import check_current, zip_columns
from pipeline.tar import END, TarError, TarWriter, read_samples

CHUNK = 1 << 20
AHEAD = 8
"""Chunks that may wait to be hashed."""


class Loaded:
    """A shard of all columns whose bytes are being verified: nothing made of it may be published before `check`.

    samples: all of images, with the members of every column where all have them. digest: of the receipts.
    """

    def __init__(self, dataset: Dataset, columns: Sequence[str], shard: int, threads: ThreadPoolExecutor) -> None:
        self.shard = shard
        receipts = {column: _receipt(dataset, column, shard) for column in columns}
        for receipt in receipts.values():
            check_current(receipt, receipts[IMAGES])
        data = {column: load_tar(dataset.store, receipt) for column, receipt in receipts.items()}
        self._checks: list[Future[None]] = [
            threads.submit(check_bytes, data[column], receipts[column]) for column in columns
        ]
        self.digest = digest_json({column: receipt.sha256 for column, receipt in receipts.items()})
        try:
            self.samples = _zip(data, receipts)
        except Exception:
            self.check()  # what is damaged is to be called so
            raise

    def check(self) -> None:
        """Wait until all bytes are verified. Raises DamagedShard."""
        for check in self._checks:
            check.result()


def _receipt(dataset: Dataset, column: str, shard: int) -> Receipt:
    receipt = load_receipt(dataset.store, column, shard)
    if receipt is None:
        raise ShardNotReady(f"{column}/{shard_name(shard)} has no receipt")
    return receipt


def _zip(data: Mapping[str, memoryview], receipts: Mapping[str, Receipt]) -> list[Sample]:
    found: dict[str, list[Sample]] = {}
    for column, receipt in receipts.items():
        path = tar_path(column, receipt.shard)
        try:
            found[column] = list(read_samples(data[column]))
        except TarError as error:
            raise DamagedShard(f"{path}: {error}") from None
        if digest_keys(sample.key for sample in found[column]) != receipt.keys:
            raise DamagedShard(f"{path}: its keys are not those of its receipt")
    whole = {sample.key: sample for sample in zip_columns(found, receipts)}
    return [whole.get(sample.key, sample) for sample in found[IMAGES]]


class BesideWriter(TarWriter):
    """A TarWriter that writes whole chunks, and hashes them on a thread: `threads` must have but one."""

    def __init__(self, file: BinaryIO, threads: ThreadPoolExecutor) -> None:
        super().__init__(file)
        self._pending: list[bytes | memoryview] = []
        self._size = 0
        self._submit: Callable[..., Future[None]] = threads.submit
        self._jobs: deque[Future[None]] = deque()

    def _write(self, data: bytes | memoryview) -> None:
        self._pending.append(data)
        self._size += len(data)
        if self._size >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        chunk = b"".join(self._pending)
        self.bytes += len(chunk)
        self._pending, self._size = [], 0
        if len(self._jobs) >= AHEAD:
            self._jobs.popleft().result()
        self._jobs.append(self._submit(self._hash.update, chunk))
        self._file.write(chunk)

    def close(self) -> str:
        """The sha256 of the whole file, in hexadecimal, once it is known."""
        self._write(END)
        self._flush()
        while self._jobs:
            self._jobs.popleft().result()
        return self._hash.hexdigest()
