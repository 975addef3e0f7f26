"""Tables in files that the ranks and loaders of a machine map and share, in a folder of the user's own."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from t2i_shards.extractors.atomic import replace_file
from t2i_shards.pipeline.errors import RequestError, describe_error
from t2i_shards.pipeline.scratch import temporary_folder
from t2i_shards.pipeline.stream.locks import locked, take_away

log = logging.getLogger(__name__)

BOUND = 2 << 30
"""Bytes of all files; the receipts of a hundred thousand shards have about 17 MB."""


class MappedTable:
    """A table in a file that is mapped. Pickled, it is a path; the file is locked while it is in use."""

    def __init__(self, table: pa.Table, file: BinaryIO | None = None) -> None:
        self.table, self.file = table, file

    def __reduce__(self) -> tuple[Any, ...]:
        with suppress(OSError):
            if self.file and os.path.samestat(os.stat(self.file.name), os.fstat(self.file.fileno())):
                return _open_again, (Path(self.file.name),)
        return MappedTable, (self.table,)


def find_folder(what: str) -> Path | None:
    """The folder of the files; None where there can be none, so that each process reads `what`: that is logged."""
    try:
        folder = temporary_folder() / "receipts"
        (folder / "locks").mkdir(parents=True, exist_ok=True)
    except (OSError, RequestError) as error:
        log.warning("each process reads %s: %s", what, describe_error(error))
        return None
    return folder


def keep_table(
    folder: Path, key: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], what: str
) -> MappedTable | None:
    """Write a table to the file of this key, unless it is there. None where it cannot be written."""
    path = folder / f"{key}.arrow"
    try:
        found = open_table(path)
        if found is None:
            with replace_file(path) as scratch:
                with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                    for batch in batches:
                        writer.write_batch(batch)
                with scratch.open("r+b") as file:
                    digest = hashlib.file_digest(file, "sha256").digest()
                    file.write(digest)
            found = open_table(path)
        _trim(folder)
    except OSError as error:
        log.warning("each process keeps %s to itself: %s", what, describe_error(error))
        return None
    return found


def open_table(path: Path, check: bool = True) -> MappedTable | None:
    """The table in a file; None where there is none. One that is damaged is removed.

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
    return MappedTable(pa.ipc.open_file(pa.py_buffer(body)).read_all(), file)


def _open_again(path: Path) -> MappedTable:
    """In another process of this machine, for which the first one holds the file."""
    found = open_table(path, check=False)
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
def lock(folder: Path, key: str) -> Iterator[None]:
    """One process reads while the others wait; a lock for every key would leave a file for each."""
    with open(folder / "locks" / key[:2], "ab") as file, locked(file):
        yield
