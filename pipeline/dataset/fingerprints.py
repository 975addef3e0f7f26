"""What is compared of the pictures of a dataset, read from the tables of its rows into scratch files."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.outcomes import OK, read_outcomes, rows_path
from t2i_shards.pipeline.dataset.scratch_arrays import open_array
from t2i_shards.pipeline.errors import DamagedShard

DIGITS = {"sha256": 64, "phash": 16, "phash256": 64}
"""Of each column, in hexadecimal."""


@dataclass(frozen=True)
class Fingerprints:
    """What is known of N pictures, in their order; 0 where it is not known.

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
        text = np.memmap(self.keys, np.uint8, "r")
        begins = np.where(indices > 0, self.ends[indices - 1], 0)
        return [
            bytes(text[begin:end]).decode("ascii")
            for begin, end in zip(begins.tolist(), self.ends[indices].tolist(), strict=True)
        ]


def read_fingerprints(dataset: Dataset, scratch: Path) -> tuple[Fingerprints, Names]:
    """Those of all pictures, shard after shard. scratch: a folder. Raises DamagedShard."""
    shards, stops, count, end = list[int](), list[int](), 0, 0
    paths = {name: scratch / f"row.{name}" for name in (*DIGITS, "keys", "ends")}
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(path, "wb")) for name, path in paths.items()}
        for shard, table in read_outcomes(dataset, ("key", "status", *DIGITS)):
            known = table.filter(pc.equal(table["status"], OK))
            for name in DIGITS:
                _parse(known[name], name, shard).tofile(files[name])
            keys = known["key"].to_pylist()
            ends = end + np.cumsum(np.fromiter(map(len, keys), np.uint64, len(keys)))
            files["keys"].write("".join(keys).encode("ascii"))
            ends.astype(np.uint64).tofile(files["ends"])
            shards.append(shard)
            stops.append(count := count + len(keys))
            end = int(ends[-1]) if keys else end
    prints = Fingerprints(
        open_array(paths["sha256"], 4), open_array(paths["phash"]), open_array(paths["phash256"], 4)
    )
    return prints, Names(shards, stops, paths["keys"], open_array(paths["ends"]))


def _parse(column: pa.ChunkedArray, name: str, shard: int) -> np.ndarray:
    """uint64 (N, digits / 16), of a column of numbers in hexadecimal; null is 0, but in phash."""
    digits = DIGITS[name]
    texts = column if name == "phash" else pc.fill_null(column, "0" * digits)
    try:
        if pc.any(pc.not_equal(pc.fill_null(pc.utf8_length(texts), 0), digits)).as_py():
            raise ValueError
        data = binascii.unhexlify("".join(texts.to_pylist()))
    except ValueError:
        raise DamagedShard(f"{rows_path(shard)}: each {name} must be {digits} hex digits") from None
    return np.frombuffer(data, ">u8").astype(np.uint64)
