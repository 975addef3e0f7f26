"""rows.parquet: what became of every planned row of a shard, and why."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import IMAGES, Dataset
from pipeline.errors import DamagedShard
from pipeline.image import Picture
from pipeline.plan import read_table
from pipeline.receipt import Receipt, shard_name
from pipeline.sample import Sample
from pipeline.stage import describe_error
from pipeline.store import Store

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
    ]
)
"""status: "ok" or the reason of the drop. http: what the row's address answered with. The rest is of the original:
its file's digest and size, its width and height, its perceptual hash; null where unknown."""


def rows_path(shard: int) -> str:
    """images/000012.rows.parquet"""
    return f"{IMAGES}/{shard_name(shard)}.rows.parquet"


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The bytes of rows.parquet; the same rows give the same bytes."""
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], ROWS), table)
    return table.getvalue()


def decode_rows(data: bytes | memoryview) -> list[dict[str, Any]]:
    """What `encode_rows` was given."""
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(pa.py_buffer(data)), schema=ROWS).to_pylist()
    return rows


def count_drops(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The rows that became no sample, by reason, as a receipt has them."""
    return dict(Counter(row["status"] for row in rows if row["status"] != OK))


def perceive(picture: Picture) -> str:
    """The 64-bit perceptual hash of a picture (uint8 (H, W, 3) RGB), as 16 hex digits.

    The signs of the 64 lowest frequencies of the grey picture at 32x32 (imagehash's phash); pictures that look the
    same differ in few bits, whatever their size and encoding.
    """
    import imagehash
    from PIL import Image

    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    return str(imagehash.phash(Image.fromarray(small)))


def check_rows(store: Store, images: Receipt, samples: Sequence[Sample]) -> None:
    """Raises DamagedShard when rows.parquet does not tell the same of the planned rows as receipt and shard."""
    path = rows_path(images.shard)
    try:
        rows = decode_rows(store.load(path))
    except (OSError, pa.ArrowException) as error:
        raise DamagedShard(f"{path}: {describe_error(error)}") from None
    kept = [row["key"] for row in rows if row["status"] == OK]
    if kept != [sample.key for sample in samples] or count_drops(rows) != images.drops:
        raise DamagedShard(f"{path}: tells otherwise of the rows than the shard and its receipt")


def read_outcomes(dataset: Dataset, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """(shard, these columns of its rows.parquet) of every shard that is done, in order.

    Raises DamagedShard where a finished shard lacks the file.
    """

    def read(shard: int) -> pa.Table:
        try:
            return read_table(dataset.store, rows_path(shard), ROWS).select(list(columns))
        except FileNotFoundError:
            raise DamagedShard(f"{rows_path(shard)}: its shard has a receipt, but the file is gone") from None

    done = sorted(dataset.done(IMAGES))
    with ThreadPoolExecutor(16) as threads:
        # A thousand shards at a time: `map` alone would read all of them ahead.
        for start in range(0, len(done), 1000):
            shards = done[start : start + 1000]
            yield from zip(shards, threads.map(read, shards), strict=True)
