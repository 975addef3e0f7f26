"""The stored size of every sample of a stream, in a file that the ranks and loaders of a machine map and share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.sizes import SIZE, read_sizes
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.receipt import digest_json
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable, to_numbers
from t2i_shards.pipeline.stream.mapped_tables import MappedTable, find_folder, keep_table, lock, open_table
from t2i_shards.pipeline.stream.order import Shape
from t2i_shards.pipeline.stream.shards import Shards

FEW = 1000
"""A stream of fewer shards has no file."""
VERSION = 1
"""Of the file's format, and of what its name vouches for."""
WHAT = "the sizes of pictures"
TOGETHER = 1000
"""Shards whose numbers are written at once."""


@dataclass(frozen=True)
class Shapes:
    """shapes: all that there are. numbers: by shard, uint16 (samples,), each sample's place in `shapes`."""

    shapes: Sequence[Shape]
    numbers: Mapping[int, np.ndarray]

    def digest(self) -> str:
        digest = hashlib.sha256(repr(self.shapes).encode())
        for shard in sorted(self.numbers):
            digest.update(self.numbers[shard].astype("<u2").tobytes())
        return digest.hexdigest()


class MappedNumbers(Mapping[int, np.ndarray]):
    """The numbers of the shards 0, 1, 2 …, each of which has a row in the table."""

    def __init__(self, mapped: MappedTable) -> None:
        self._mapped = mapped

    def __getitem__(self, shard: int) -> np.ndarray:
        return to_numbers(self._mapped.table["numbers"][shard].values)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self._mapped.table)


def read_shapes(dataset: Dataset, images: ReceiptTable, shards: Shards) -> Shapes:
    """The stored size of every sample that is handed out, as `read_sizes` finds them; no shard is opened.

    The first process of a machine reads them where there are many. Raises RequestError where one is not known.
    """
    folder = find_folder(WHAT) if len(images) >= FEW else None
    if folder is None:
        return _find_shapes(dataset, images, shards)
    key = digest_json([VERSION, "sizes", dataset.store.root, shards.digest])
    with lock(folder, key):
        mapped = open_table(folder / f"{key}.arrow")
        if mapped is None:
            shapes = _find_shapes(dataset, images, shards)
            schema = pa.schema([("numbers", pa.list_(pa.uint16()))], {"shapes": json.dumps(shapes.shapes)})
            mapped = keep_table(folder, key, schema, _divide(shapes.numbers, schema), WHAT)
            if mapped is None:
                return shapes
    known = json.loads(mapped.table.schema.metadata[b"shapes"])
    return Shapes([(width, height) for width, height in known], MappedNumbers(mapped))


def _divide(numbers: Mapping[int, np.ndarray], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    every = iter(numbers.values())
    while group := list(islice(every, TOGETHER)):
        ends = np.cumsum([0, *map(len, group)], dtype=np.int32)
        column = pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(group)))
        yield pa.record_batch([column], schema)


def _find_shapes(dataset: Dataset, images: ReceiptTable, shards: Shards) -> Shapes:
    counts, numbers, found = shards.counts(), dict[int, np.ndarray](), dict[Shape, int]()
    unknown = "has samples whose size was not recorded"
    try:
        for shard, sizes in read_sizes(dataset, images, shards.without):
            if len(sizes) != counts[shard] or not (sizes["width"].all() and sizes["height"].all()):
                raise DamagedShard(f"{shard:06d} {unknown}")
            different, back = np.unique(sizes.view("<u4"), return_inverse=True)
            known = [found.setdefault(shape, len(found)) for shape in different.view(SIZE).tolist()]
            numbers[shard] = np.array(known, np.uint16)[back]
        if lacking := [shard for shard, count in counts.items() if count and shard not in numbers]:
            raise DamagedShard(f"{lacking[0]:06d} {unknown}")
    except DamagedShard as error:
        raise RequestError(f"buckets need the sizes of all pictures from images/*.rows.parquet: {error}") from None
    shapes = sorted(found)
    # Found in the order of shards, they go by the number that they have among all.
    final = np.empty(len(found), np.uint16)
    final[[found[shape] for shape in shapes]] = np.arange(len(found))
    return Shapes(shapes, {shard: final[numbers.pop(shard, final[:0])] for shard in counts})
