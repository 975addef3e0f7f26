"""rows.parquet: what became of every planned row of a shard, and why."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.read import load_verified
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.sample import digest_keys
from t2i_shards.pipeline.shards.store import AT_ONCE, Store
from t2i_shards.pipeline.shards.table import decode_table, encode_table

log = logging.getLogger(__name__)

OK = "ok"
ROWS = pa.schema(
    [
        ("key", pa.string()),
        ("status", pa.string()),
        ("http", pa.int16()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("phash", pa.string()),
        ("phash256", pa.string()),
    ]
)
"""status: "ok" or the reason of the drop. http: what the row's address answered with. The rest is of the original:
its file's digest and size, its width and height, its perceptual hashes of 64 and 256 bits; null where unknown."""
KNOWN = ("key", "status")
"""The columns that are never null."""
LATER = ("phash256",)
"""The columns that files of earlier versions lack."""


def rows_path(shard: int) -> str:
    """images/000012.rows.parquet"""
    return f"{IMAGES}/{shard_name(shard)}.rows.parquet"


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The bytes of rows.parquet; the same rows give the same bytes."""
    return encode_table(pa.Table.from_pylist([dict(row) for row in rows], ROWS))


def digest_rows(data: bytes | memoryview) -> str:
    """The sha256 of rows.parquet, as the receipt has it."""
    return hashlib.sha256(data).hexdigest()


def decode_rows(data: bytes | memoryview, path: str = "rows.parquet") -> list[dict[str, Any]]:
    """What `encode_rows` was given. Raises DamagedShard, which names `path`."""
    rows: list[dict[str, Any]] = decode_table(data, path, ROWS, whole=KNOWN, optional=LATER).to_pylist()
    return rows


def count_drops(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The rows that became no sample, by reason, as a receipt has them."""
    return dict(Counter(row["status"] for row in rows if row["status"] != OK))


def read_rows(store: Store, images: Receipt) -> pa.Table:
    """The table of a shard, after it was compared with the shard's receipt.

    A receipt of an earlier version has no digest of the file; its keys and drops are compared all the same.
    Raises DamagedShard for a table that is gone, damaged or altered.
    """
    path = rows_path(images.shard)
    try:
        data = store.load(path)
        if images.rows not in (None, digest_rows(data)):
            raise DamagedShard(tell_damage(path, "its sha256 is not the one in the shard's receipt"))
        table = decode_table(data, path, ROWS, whole=KNOWN, optional=LATER)
    except FileNotFoundError:
        raise DamagedShard(tell_damage(path, "its shard has a receipt, but the file is gone")) from None
    drops = Counter(status for status in table["status"].to_pylist() if status != OK)
    if digest_keys(_keys(table)) != images.keys or drops != images.drops:
        raise DamagedShard(tell_damage(path, "contradicts the shard and its receipt"))
    return table


def sample_keys(store: Store, images: Receipt) -> list[str]:
    """The keys of the samples of a shard, in order: from its rows, or from the shard where these are damaged."""
    try:
        return _keys(read_rows(store, images))
    except DamagedShard as error:
        log.warning("the keys are read from the shard itself: %s", error)
        return [sample.key for sample in load_verified(store, images)]


def _keys(table: pa.Table) -> list[str]:
    pairs = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
    return [str(key) for key, status in pairs if status == OK]


def read_outcomes(
    dataset: Dataset, columns: Sequence[str], shards: Collection[int] | None = None
) -> Iterator[tuple[int, pa.Table]]:
    """(shard, these columns of its rows.parquet) of every shard that is done, in order.

    shards: which of them; all when None. A column that an earlier version did not write is null.
    Raises DamagedShard where a finished shard's file is gone or not what its receipt says.
    """

    def read(shard: int) -> pa.Table | None:
        receipt = load_receipt(dataset.store, IMAGES, shard)
        if receipt is None:
            return None
        table = read_rows(dataset.store, receipt)
        for name in columns:
            if name not in table.column_names:
                table = table.append_column(ROWS.field(name), pa.nulls(len(table), ROWS.field(name).type))
        return table.select(list(columns))

    asked = sorted(dataset.done(IMAGES) if shards is None else shards)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        # A thousand shards at a time: `map` alone would read all of them ahead.
        for start in range(0, len(asked), 1000):
            shards = asked[start : start + 1000]
            for shard, table in zip(shards, threads.map(read, shards), strict=True):
                if table is not None:
                    yield shard, table
