"""The tables of duplicates: one for each state in which a dataset was whole.

A run that was begun in an earlier state goes on in it, by its table. Those of other states are no longer needed:
of shards that were written again or made again since.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import DamagedShard, describe_error
from t2i_shards.pipeline.shards.parquet import load_footer
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable, digest_receipts
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.table import read_table

log = logging.getLogger(__name__)

FOLDER = "duplicates"
NAME = re.compile(r"[0-9a-f]{64}\.parquet")
DUPLICATES = pa.schema(
    [("shard", pa.int32()), ("key", pa.string()), ("of", pa.string()), ("kind", pa.string()), ("bits", pa.int8())]
)
"""One row for each picture that is a duplicate of an earlier one, `of`, which is none itself. kind: "exact" (same
file) or "near" (`bits` of the perceptual hash differ)."""


@dataclass(frozen=True)
class Kind:
    """How a table was made. shards: of how many; near, rules: by what.

    Those of earlier versions do not say: 0 and "".
    """

    shards: int
    near: str
    rules: str


def duplicates_path(images: Mapping[int, Receipt]) -> str:
    """duplicates/81bc….parquet"""
    return f"{FOLDER}/{digest_receipts(images)}.parquet"


def read_marks(store: Store, path: str) -> pa.Table | None:
    """The table at `path`; None when there is none. Raises DamagedShard."""
    try:
        return read_table(store, path, DUPLICATES, whole=DUPLICATES.names)
    except FileNotFoundError:
        return None


def read_kinds(store: Store) -> dict[str, Kind]:
    """Path -> its kind, of every table that can be read; says which cannot."""
    kinds = dict[str, Kind]()
    for path in (f"{FOLDER}/{name}" for name in store.names(FOLDER) if NAME.fullmatch(name)):
        try:
            with store.open(path) as stream:
                load_footer(stream)
                said = pq.read_schema(stream).metadata or {}
            shards = int(said.get(b"shards", b"0"))
            near, rules = (said.get(name, b"").decode("ascii") for name in (b"near", b"rules"))
        except (OSError, ValueError, pa.ArrowException, DamagedShard) as error:
            log.warning("its marks are made again: %s: %s", path, describe_error(error)[:200])
            continue
        kinds[path] = Kind(shards, near, rules)
    return kinds


def find_states(dataset: Dataset, images: ReceiptTable) -> dict[str, int]:
    """Path of the table -> shards, of each state in which the dataset was whole: a run may have begun in it."""
    stops = (segment.numbers.stop for segment in dataset.segments)
    return {duplicates_path(images.within(0, stop)): stop for stop in stops}


def count_changes(store: Store, paths: Iterable[str], states: Mapping[str, int], table: pa.Table) -> int | None:
    """How many pictures the largest of these tables marks in another way than `table`; None where none is read."""
    path = max(paths, key=states.__getitem__, default=None)
    try:
        before = read_marks(store, path) if path else None
    except DamagedShard:
        before = None
    if path is None or before is None:
        return None
    mark = ["shard", "key", "of"]
    was, now = before.select(mark), table.filter(pc.less(table["shard"], states[path])).select(mark)
    changed = [one.join(other, mark, join_type="left anti") for one, other in ((was, now), (now, was))]
    pictures: int = pa.concat_tables(changed).group_by(["shard", "key"]).aggregate([]).num_rows
    return pictures


def find_unneeded(kinds: Mapping[str, Kind], states: Mapping[str, int]) -> list[str]:
    """The tables of none of these states, nor of a later one, which somebody else may just have made.

    Those of earlier versions do not say how many shards they are of, and stay.
    """
    shards = max(states.values())
    return [path for path, kind in kinds.items() if path not in states and 0 < kind.shards <= shards]
