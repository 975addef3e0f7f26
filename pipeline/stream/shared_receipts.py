"""The receipts of an opened dataset, in files that the ranks and loaders of a machine map and share.

The first process to open a column reads its receipts and leaves them in a folder of the user's own, under a name
made of the names of the roll-ups they come from; the others wait for it. What is handed to a loader is a path.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from t2i_shards.extractors.atomic import replace_file
from t2i_shards.pipeline.dataset.roll_up import RollUp, read_receipts
from t2i_shards.pipeline.errors import RequestError, describe_error
from t2i_shards.pipeline.scratch import temporary_folder
from t2i_shards.pipeline.shards.receipt import digest_json
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stream.locks import locked, take_away

log = logging.getLogger(__name__)

BOUND = 2 << 30
"""Bytes of all files; one of a hundred thousand shards has about 17 MB."""
FEW = 1000
"""A column with fewer receipts has no file: its receipts are handed over by value."""
VERSION = 3
"""Of the files' format, and of what their names vouch for."""


class MappedReceipts(ReceiptTable):
    """Receipts in a file that is mapped. Pickled, they are a path; the file is locked while it is in use."""

    def __init__(self, column: str, table: pa.Table, file: BinaryIO) -> None:
        super().__init__(column, table)
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        with suppress(OSError):
            if os.path.samestat(os.stat(self._file.name), os.fstat(self._file.fileno())):
                return _open_again, (self.column, Path(self._file.name))
        return super().__reduce__()


def read_shared(store: Store, column: str, shards: Sequence[int], roll_ups: Sequence[RollUp] = ()) -> ReceiptTable:
    """As `read_receipts`; those of a large column from the file of this machine, which is made if need be."""
    if len(shards) < FEW:
        return read_receipts(store, column, shards, roll_ups)
    try:
        folder = temporary_folder() / "receipts"
        (folder / "locks").mkdir(parents=True, exist_ok=True)
    except (OSError, RequestError) as error:
        log.warning("each process reads the receipts of %s: %s", column, describe_error(error))
        return read_receipts(store, column, shards, roll_ups)
    used = [one for one in roll_ups if one.first <= shards[-1] and one.last >= shards[0]]
    if not set(shards).issubset(shard for one in used for shard in one.shards):
        # Only the content says what is in them: each process reads it, and those that read the same share a file.
        receipts = read_receipts(store, column, shards, roll_ups)
        return _keep(folder, None, receipts)
    key = digest_json([VERSION, shards[0], shards[-1], [one.path for one in used]])
    with _lock(folder, key):
        found = _open(column, folder / f"{key}.arrow")
        if found is not None:
            return found
        ignored: list[RollUp] = []
        receipts = read_receipts(store, column, shards, roll_ups, ignored=ignored)
        if len(receipts) < len(shards):
            return receipts
        # A roll-up that is not what its name says vouches for nothing: the name may be that of another dataset's.
        return _keep(folder, None if ignored else key, receipts)


def _keep(folder: Path, key: str | None, receipts: ReceiptTable) -> ReceiptTable:
    """The same receipts in the file of this key, or of their content; as they are where it cannot be written."""
    try:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, receipts.table.schema) as writer:
            writer.write_table(receipts.table)
        data = sink.getvalue()
        digest = hashlib.sha256(data)
        path = folder / f"{key or digest.hexdigest()}.arrow"
        found = _open(receipts.column, path)
        if found is None:
            with replace_file(path) as scratch, scratch.open("wb") as file:
                file.write(data)
                file.write(digest.digest())
            found = _open(receipts.column, path)
        _trim(folder)
    except OSError as error:
        log.warning("each process keeps the receipts of %s to itself: %s", receipts.column, describe_error(error))
        return receipts
    return found or receipts


def _open(column: str, path: Path, check: bool = True) -> MappedReceipts | None:
    """The receipts in a file; None where there is none. One that is damaged is removed.

    check: compare its bytes with their digest.
    """
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_SH)
        os.utime(file.fileno())
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None
    body, digest = data[:-32], data[-32:]
    if check and hashlib.sha256(body).digest() != digest:
        path.unlink(missing_ok=True)
        return None
    table = pa.ipc.open_file(pa.py_buffer(body)).read_all()
    return MappedReceipts(column, table, file)


def _open_again(column: str, path: Path) -> ReceiptTable:
    """In another process of this machine, for which the first one holds the file."""
    found = _open(column, path, check=False)
    if found is None:
        raise RequestError(f"{path}: gone; the same command makes it again")
    return found


def _trim(folder: Path) -> None:
    """Remove the files that were used longest ago, down to the bound; not those in use."""
    found = [(file.stat().st_mtime_ns, file.stat().st_size, file) for file in folder.glob("*.arrow")]
    excess = sum(size for _, size, _ in found) - BOUND
    for _, size, file in sorted(found):
        if excess <= 0:
            break
        if take_away(file):
            excess -= size


@contextmanager
def _lock(folder: Path, key: str) -> Iterator[None]:
    """One process reads while the others wait; a lock for every key would leave a file for each."""
    with open(folder / "locks" / key[:2], "ab") as file, locked(file):
        yield
