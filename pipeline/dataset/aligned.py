"""The samples of one shard number in all columns, each column verified by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.dataset.columns import check_current, zip_columns
from pipeline.dataset.dataset import IMAGES
from pipeline.errors import DamagedShard
from pipeline.shards.read import load_verified
from pipeline.shards.receipt import Receipt
from pipeline.shards.sample import Sample
from pipeline.shards.store import Store


@dataclass(frozen=True)
class Aligned:
    """samples: column -> its samples, images first; no column whose shard is damaged or not made yet.

    problems: a line for each damaged one. When that is images, there is nothing else.
    """

    samples: Mapping[str, Sequence[Sample]]
    problems: tuple[str, ...] = ()


def open_aligned(store: Store, receipts: Mapping[str, Receipt]) -> Aligned:
    """Open a shard in the columns of `receipts`: every byte, key and origin is compared before any is given."""
    images = receipts[IMAGES]
    try:
        samples = {IMAGES: load_verified(store, images)}
    except DamagedShard as error:
        return Aligned({}, (str(error),))
    keys = [replace(sample, members={}) for sample in samples[IMAGES]]
    problems = []
    for column, receipt in receipts.items():
        if column == IMAGES:
            continue
        try:
            check_current(receipt, images)
            found = load_verified(store, receipt)
            zip_columns({IMAGES: keys, column: found}, {IMAGES: images, column: receipt})
            samples[column] = found
        except DamagedShard as error:
            problems.append(str(error))
    return Aligned(samples, tuple(problems))
