"""The stored size of every picture, kept in a file for each thousand of shards.

So batches of one size are planned without reading every table of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.name_index import list_pieces
from t2i_shards.pipeline.dataset.outcomes import OK, read_outcomes
from t2i_shards.pipeline.dataset.piece_tables import PieceTables
from t2i_shards.pipeline.errors import DamagedShard, Drop
from t2i_shards.pipeline.image.geometry import load_geometry
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable

SCHEMA = pa.schema([("shard", pa.int32()), ("keys", pa.string()), ("sizes", pa.binary())])
"""A row for each shard: the keys of its samples, a space between them, and of each its SIZE in pixels."""
SIZE = np.dtype([("width", "<u2"), ("height", "<u2")])
"""0 where the size of the original was not recorded, or is none that the geometry takes."""
KEPT = 1 << 16
"""Original sizes whose stored ones are remembered."""
TOGETHER = 50
"""Shards that are read at once: of 4,000 samples each 2.8 MB in memory."""


def read_sizes(
    dataset: Dataset, images: ReceiptTable, without: Callable[[int], AbstractSet[str]]
) -> Iterator[tuple[int, np.ndarray]]:
    """(shard, SIZE (samples,)) of each shard of `images`, in order; shards without samples may be skipped.

    without: of a shard, the keys of samples that are left out. Raises DamagedShard.
    """
    for shard, table in SIZES.read_all(dataset, range(len(images)), lambda: list_pieces(dataset, images)):
        keys, packed = (table[name][0].as_py() for name in ("keys", "sizes"))
        if keys is None or packed is None or len(packed) % SIZE.itemsize:
            raise DamagedShard(f"{shard:06d} has no sizes")
        sizes = np.frombuffer(packed, SIZE)
        if out := without(shard):
            there = np.array([key not in out for key in keys.split(" ")], bool)
            sizes = sizes[there] if len(there) == len(sizes) else sizes[:0]
        yield shard, sizes


def _tabulate(dataset: Dataset, shards: Iterable[int]) -> Iterator[tuple[int, pa.Table]]:
    geometry = load_geometry(dataset.description.geometry)

    @lru_cache(KEPT)
    def place(width: int | None, height: int | None) -> tuple[int, int]:
        try:
            return geometry.place(width, height).crop[2:] if width and height else (0, 0)
        except Drop:
            return (0, 0)

    for shard, table in read_outcomes(dataset, ("key", "status", "width", "height"), list(shards)):
        known = table.filter(pc.equal(table["status"], OK))
        stored = map(place, known["width"].to_pylist(), known["height"].to_pylist())
        row = [shard], [" ".join(known["key"].to_pylist())], [np.array(list(stored), SIZE).tobytes()]
        yield shard, pa.table([pa.array(*of) for of in zip(row, SCHEMA.types, strict=True)], SCHEMA)


SIZES = PieceTables("sizes-1", SCHEMA, _tabulate, TOGETHER, packed=True)
