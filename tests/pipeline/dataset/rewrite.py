"""Tables of rows with other facts, which their receipts vouch for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import LATER, ROWS, digest_rows, rows_path
from t2i_shards.pipeline.shards.commit import load_receipt, receipt_path
from t2i_shards.pipeline.shards.table import encode_table, read_table


def rewrite_rows(
    dataset: Dataset, shard: int, change: Callable[[list[dict[str, Any]]], Any], **changes: Any
) -> None:
    """Let `change` edit the rows of a shard; a later column that none of them has any more is dropped.

    changes: of its receipt.
    """
    receipt = load_receipt(dataset.store, IMAGES, shard)
    assert receipt is not None
    rows = read_table(dataset.store, rows_path(shard), ROWS).to_pylist()
    change(rows)
    kept = [field for field in ROWS if field.name not in LATER or any(field.name in row for row in rows)]
    table = encode_table(pa.Table.from_pylist(rows, pa.schema(kept)))
    for path, data in (
        (rows_path(shard), table),
        (receipt_path(IMAGES, shard), replace(receipt, rows=digest_rows(table), **changes).encode()),
    ):
        file = Path(dataset.store.root, path)
        file.unlink()
        file.write_bytes(data)
