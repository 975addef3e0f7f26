"""Opening a stream: what was asked for is complete, and made from the same pictures."""

from __future__ import annotations

import logging
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t2i_shards.pipeline.dataset.columns import whole_column
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import read_duplicates
from t2i_shards.pipeline.dataset.tombstones import LeftOut, add_tombstones, count_tombstone_tables, read_tombstones
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.stream.buckets import BucketOrder
from t2i_shards.pipeline.stream.cache import open_cache
from t2i_shards.pipeline.stream.lanes import ONE_LANE, Lanes
from t2i_shards.pipeline.stream.order import BLOCK_SHARDS, BlockOrder, Order, SampleIndices
from t2i_shards.pipeline.stream.shapes import read_shapes
from t2i_shards.pipeline.stream.shards import Shards
from t2i_shards.pipeline.stream.shared_receipts import read_shared
from t2i_shards.pipeline.stream.stream import Stream

SPARE = 256
"""Files that are open for other reasons."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extent:
    """How much of a dataset decides the order: its first `shards` shards, less what its first `stones` tables of
    tombstones name.

    Both only grow (a retry adds shards, `remove` adds a table), so an earlier extent gives its order again.
    """

    shards: int
    stones: int


def measure_extent(dataset: Dataset) -> Extent:
    """All there is at present."""
    return Extent(len(dataset.shards), count_tombstone_tables(dataset.store))


def open_stream(
    root: str,
    columns: Sequence[str],
    seed: int = 0,
    duplicates: bool = True,
    *,
    skip_damaged: int = 0,
    cache: Path | None = None,
    cache_bytes: int | None = None,
    buckets: int | None = None,
    extent: Extent | None = None,
    lanes: Lanes = ONE_LANE,
) -> Stream:
    """The stream of these columns of the dataset at `root`; images are always among them.

    Samples that were removed (`dataset.tombstones`) are not there; duplicates: False leaves out as well the
    pictures that ingest marked as duplicates of earlier ones. skip_damaged: how many shards may be skipped
    because they are damaged or gone. cache: a folder of this machine by which shards of a store far away come,
    at most `cache_bytes` at a time (see `open_cache`); a dataset in a folder has no need of it.
    buckets: a batch's size; each batch then has pictures of one stored size, but for a mixed rest of the epoch.
    extent: the one that a run was begun with, where it continues: order and digest are those of that time, shards
    that came later are left alone, and the position of a sample that was removed later gets the next of its block.
    lanes: parts of the sequence with shards of their own, for readers that share it (see `choose_lanes`); batches
    of one size have one lane.
    Raises RequestError for a column that is not there or not whole, DamagedShard for one that was made from
    other pictures.
    """
    dataset = Dataset.open(root)
    names = list(dict.fromkeys((IMAGES, *columns)))
    now = measure_extent(dataset)
    # A dataset that has less than it is to have is another one: its digest will tell.
    extent = Extent(min(extent.shards, now.shards), min(extent.stones, now.stones)) if extent else now
    numbers = range(extent.shards)
    images = whole_column(dataset, IMAGES, numbers, read=read_shared)
    others = {name: whole_column(dataset, name, numbers, images=images, read=read_shared) for name in names[1:]}
    receipts = {IMAGES: images, **others}
    left_out = _find_left_out(dataset, images, duplicates, extent)
    removed = read_tombstones(dataset, extent.stones + 1, now.stones) if now.stones > extent.stones else {}
    sizes = np.sum([of.numbers("bytes") for of in receipts.values()], axis=0)
    kept = open_cache(dataset.store, sizes.tolist(), cache, cache_bytes)
    allow_files(len(lanes) * 4 * BLOCK_SHARDS * len(names))
    shards = Shards(dataset.store, receipts, left_out, kept, _within(numbers, removed))
    order = _make_order(dataset, images, shards, seed, lanes, buckets)
    return Stream(shards, order, skip_damaged, dataset.description.geometry.get("size"))


def _make_order(
    dataset: Dataset, images: ReceiptTable, shards: Shards, seed: int, lanes: Lanes, buckets: int | None
) -> Order:
    """The order in which the samples of these shards are handed out. Raises RequestError."""
    keep = SampleIndices(shards.counts(), frozenset())
    order = BlockOrder(seed, keep, lanes)
    if len(order) == 0:
        raise RequestError(f"{dataset.store.root} has no samples: every planned row was dropped (see status)")
    if buckets is None:
        return order
    if not 1 <= buckets <= len(order):
        raise RequestError(f"buckets need batches of 1 to {len(order)} samples, not {buckets}")
    return BucketOrder(seed, keep, read_shapes(dataset, images, shards), buckets)


def _within(numbers: range, left_out: LeftOut | None) -> LeftOut | None:
    """Of these shards alone; None when nothing is left out."""
    return {shard: keys for shard, keys in (left_out or {}).items() if shard in numbers} or None


def _find_left_out(
    dataset: Dataset, images: Mapping[int, Receipt], duplicates: bool, extent: Extent
) -> LeftOut | None:
    """The keys that were removed, and with `duplicates` False those of duplicates."""
    marked = None
    if not duplicates:
        marked = read_duplicates(dataset, images)
        if marked is None:
            raise RequestError(
                f"the duplicates of {dataset.store.root} are not marked; run ingest again to have them marked"
            )
    return _within(range(extent.shards), add_tombstones(dataset, marked, extent.stones))


def allow_files(count: int) -> None:
    """Raise this process's limit, and that of the processes it starts, as far as the system lets it.

    Says in a line where `count` files are more than that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning(
            "reading may need %d open files, and this process may have %d: "
            "raise the limit (ulimit -Hn), or use fewer lanes",
            wanted,
            most,
        )
