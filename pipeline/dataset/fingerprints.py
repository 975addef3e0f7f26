"""What is compared of pictures: read from the tables of rows, and kept in a file for each thousand of shards.

So another ingest reads the tables of new shards alone.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.name_index import Piece, list_pieces
from t2i_shards.pipeline.dataset.outcomes import OK, read_outcomes, rows_path
from t2i_shards.pipeline.dataset.piece_tables import PieceTables
from t2i_shards.pipeline.dataset.scratch_arrays import open_array
from t2i_shards.pipeline.errors import DamagedShard

UNKNOWN = np.uint64(2**64 - 1)
"""Four of these stand for an unknown phash256; a known one has at most half of its bits set."""
DIGITS = {"sha256": 64, "phash": 16, "phash256": 64}
"""Of each column of rows.parquet, in hexadecimal."""
SCHEMA = pa.schema(
    [("shard", pa.int32()), ("key", pa.string()), *((name, pa.binary(n // 2)) for name, n in DIGITS.items())]
)
"""Of the samples alone."""


@dataclass(frozen=True)
class Fingerprints:
    """What is known of N pictures, in their order; a sha256 of 0 and a hash of UNKNOWN are not known.

    files: uint64 (N, 4), their sha256. hashes: uint64 (N,), and hashes_256: uint64 (N, 4), perceptual hashes.
    """

    files: np.ndarray
    hashes: np.ndarray
    hashes_256: np.ndarray


@dataclass(frozen=True)
class Names:
    """The shards and keys of N pictures. shards, stops: of each shard its number, and the end of its pictures.

    keys: ASCII, one after the other. ends: uint64 (N,), where each of them ends.
    """

    shards: Sequence[int]
    stops: Sequence[int]
    keys: Path
    ends: np.ndarray

    def shard(self, indices: np.ndarray) -> np.ndarray:
        """int32 (n,)"""
        return np.array(self.shards, np.int32)[np.searchsorted(self.stops, indices, "right")]

    def key(self, indices: np.ndarray) -> list[str]:
        """Of each of the pictures."""
        if not len(indices):
            return []
        begins = np.where(indices > 0, self.ends[indices - 1], 0)
        return [
            bytes(self._text[begin:end]).decode("ascii")
            for begin, end in zip(begins.tolist(), self.ends[indices].tolist(), strict=True)
        ]

    @cached_property
    def _text(self) -> np.ndarray:
        return np.memmap(self.keys, np.uint8, "r")

    def count(self, shard: int) -> int:
        """How many of the pictures are of shards before this one."""
        at = int(np.searchsorted(self.shards, shard))
        return self.stops[at - 1] if at else 0


def read_fingerprints(dataset: Dataset, scratch: Path) -> tuple[Fingerprints, Names]:
    """Those of all pictures, shard after shard. scratch: a folder. Raises DamagedShard."""
    shards, stops, count, end = list[int](), list[int](), 0, 0
    paths = {name: scratch / f"row.{name}" for name in (*DIGITS, "keys", "ends")}
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(path, "wb")) for name, path in paths.items()}
        for shard, table in PRINTS.read_all(dataset, dataset.shards, lambda: _list_pieces(dataset)):
            if not len(table):
                continue
            for name, digits in DIGITS.items():
                values = table[name].combine_chunks()
                words = np.frombuffer(values.buffers()[1], ">u8").reshape(-1, digits // 16)
                files[name].write(words[values.offset :][: len(values)].astype(np.uint64).tobytes())
            keys = table["key"].combine_chunks()
            _, offsets, text = keys.buffers()
            bounds = np.frombuffer(offsets, np.int32)[keys.offset :][: len(keys) + 1].astype(np.uint64)
            files["keys"].write(memoryview(text)[int(bounds[0]) : int(bounds[-1])])
            files["ends"].write((end + bounds[1:] - bounds[0]).astype(np.uint64).tobytes())
            shards.append(shard)
            stops.append(count := count + len(keys))
            end += int(bounds[-1] - bounds[0])
    prints = Fingerprints(
        open_array(paths["sha256"], 4), open_array(paths["phash"]), open_array(paths["phash256"], 4)
    )
    return prints, Names(shards, stops, paths["keys"], open_array(paths["ends"]))


def _list_pieces(dataset: Dataset) -> Iterator[Piece]:
    return list_pieces(dataset, dataset.receipts(IMAGES, done=dataset.done_by_roll_ups(IMAGES)))


def _tabulate(dataset: Dataset, shards: Iterable[int]) -> Iterator[tuple[int, pa.Table]]:
    """(shard, table of SCHEMA) of each shard, from rows.parquet. Raises DamagedShard."""
    for shard, table in read_outcomes(dataset, ("key", "status", *DIGITS), list(shards)):
        known = table.filter(pc.equal(table["status"], OK))
        columns = [_parse(known[name], name, shard) for name in DIGITS]
        yield shard, pa.table([pa.array([shard] * len(known), pa.int32()), known["key"], *columns], SCHEMA)


def _parse(column: pa.ChunkedArray, name: str, shard: int) -> pa.Array:
    """Hexadecimal texts as bytes; null is what stands for unknown, except in phash, where it is an error."""
    digits = DIGITS[name]
    texts = column if name == "phash" else pc.fill_null(column, ("f" if name == "phash256" else "0") * digits)
    try:
        if pc.any(pc.not_equal(pc.fill_null(pc.utf8_length(texts), 0), digits)).as_py():
            raise ValueError
        data = binascii.unhexlify("".join(texts.to_pylist()))
    except ValueError:
        raise DamagedShard(f"{rows_path(shard)}: each {name} must be {digits} hex digits") from None
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(digits // 2), len(texts), [None, pa.py_buffer(data)])


PRINTS = PieceTables("fingerprints-1", SCHEMA, _tabulate)
"""Before there was a number, a phash256 of 0 was an unknown one."""
