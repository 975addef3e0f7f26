"""Which locations the plans of a dataset have, in a file that is mapped: 16 bytes a row, and little memory.

They are the first 128 bits of sha256, which is also what an erased row has in the place of its location. Among 400
million rows a new picture is taken for a known one with a chance of 1 in 10^30.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.erased_plan import ERASED, is_erased
from t2i_shards.pipeline.dataset.plan_digests import PlanReader
from t2i_shards.pipeline.shards.read_ahead import read_ahead

BYTES = 16
"""Of a hash."""


@dataclass(frozen=True)
class KnownLocations:
    """hashes: bytes of length 16 (N,), ascending. erased: what the plans have in the place of locations.

    last: the largest key.
    """

    hashes: np.ndarray
    erased: frozenset[str]
    last: int

    def __contains__(self, location: str) -> bool:
        """Whether a plan has it, or had it before it was erased."""
        wanted = np.frombuffer(_hash(location), self.hashes.dtype)
        [place] = np.searchsorted(self.hashes, wanted)
        return self.hashes[place : place + 1].tobytes() == wanted.tobytes()


def read_known(dataset: Dataset, scratch: Path) -> KnownLocations:
    """Reads all plans. scratch: a folder, as long as the result is used. Raises RequestError as `PlanReader`."""
    plans = PlanReader(dataset.store, dataset.segments)
    erased, last = set[str](), 0

    def read(shard: int) -> tuple[Sequence[str], int]:
        rows = plans.read(shard)
        return [row.location for row in rows], max((int(row.key) for row in rows), default=0)

    with open(scratch / "locations", "wb") as file:
        for locations, most in read_ahead(read, dataset.shards):
            last = max(last, most)
            gone = [location for location in locations if is_erased(location)]
            erased.update(gone)
            file.write(b"".join([*map(_hash, locations), *map(_hash_before, gone)]))
    hashes = np.memmap(scratch / "locations", f"S{BYTES}", "r+")
    hashes.sort()
    return KnownLocations(hashes, frozenset(erased), last)


def _hash(location: str) -> bytes:
    return hashlib.sha256(location.encode()).digest()[:BYTES]


def _hash_before(erased: str) -> bytes:
    """Of the location that there was before it was erased."""
    return bytes.fromhex(erased.removeprefix(ERASED))[:BYTES]
