"""The receipts of an opened dataset, in files that the ranks and loaders of a machine map and share.

The first process to open a column reads its receipts and leaves them in a folder of the user's own, under a name
made of the names of the roll-ups they come from; the others wait for it. What is handed to a loader is a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2i_shards.pipeline.dataset.roll_up import RollUp, read_receipts
from t2i_shards.pipeline.shards.receipt import digest_json
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stream.mapped_tables import MappedTable, find_folder, keep_table, lock, open_table

FEW = 1000
"""A column with fewer receipts has no file: its receipts are handed over by value."""
VERSION = 3
"""Of the files' format, and of what their names vouch for."""


class MappedReceipts(ReceiptTable):
    """Receipts in a file that is mapped, which are handed over as its path."""

    def __init__(self, column: str, mapped: MappedTable) -> None:
        super().__init__(column, mapped.table)
        self.mapped = mapped

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedReceipts, (self.column, self.mapped)


def read_shared(store: Store, column: str, shards: Sequence[int], roll_ups: Sequence[RollUp] = ()) -> ReceiptTable:
    """As `read_receipts`; those of a large column from the file of this machine, which is made if need be."""
    folder = find_folder(f"the receipts of {column}") if len(shards) >= FEW else None
    if folder is None:
        return read_receipts(store, column, shards, roll_ups)
    used = [one for one in roll_ups if one.first <= shards[-1] and one.last >= shards[0]]
    if not set(shards).issubset(shard for one in used for shard in one.shards):
        # Only the content says what is in them: each process reads it, and those that read the same share a file.
        receipts = read_receipts(store, column, shards, roll_ups)
        return _keep(folder, None, receipts)
    key = digest_json([VERSION, shards[0], shards[-1], [one.path for one in used]])
    with lock(folder, key):
        found = open_table(folder / f"{key}.arrow")
        if found is not None:
            return MappedReceipts(column, found)
        ignored: list[RollUp] = []
        receipts = read_receipts(store, column, shards, roll_ups, ignored=ignored)
        if len(receipts) < len(shards):
            return receipts
        # A roll-up that is not what its name says vouches for nothing: the name may be that of another dataset's.
        return _keep(folder, None if ignored else key, receipts)


def _keep(folder: Path, key: str | None, receipts: ReceiptTable) -> ReceiptTable:
    """The same receipts in the file of this key, or of their content; as they are where it cannot be written."""
    table, what = receipts.table, f"the receipts of {receipts.column}"
    mapped = keep_table(folder, key or _digest(table), table.schema, table.to_batches(), what)
    return MappedReceipts(receipts.column, mapped) if mapped else receipts


def _digest(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()
