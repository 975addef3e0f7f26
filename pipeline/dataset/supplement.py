"""Shards that are added to a dataset: for rows that failed and may succeed now, and for pictures that are new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.download_commit import read_seen
from t2i_shards.pipeline.dataset.erased_plan import is_erased
from t2i_shards.pipeline.dataset.known_locations import read_known
from t2i_shards.pipeline.dataset.last_tries import CACHED, LastTries, list_lossy
from t2i_shards.pipeline.dataset.left_out import Recorder
from t2i_shards.pipeline.dataset.plan import Segment, write_segment
from t2i_shards.pipeline.dataset.plan_digests import check_segment, refuse_plan
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.shards.read_ahead import read_ahead
from t2i_shards.pipeline.sources.base import Seen, Source, passing, unseen
from t2i_shards.pipeline.sources.row import Row

Again: TypeAlias = Callable[[Iterable[tuple[Row, str]]], Iterable[Row]]
"""`Source.again`."""


def plan_retry(dataset: Dataset, again: Again = passing) -> Segment | None:
    """Plan shards for the rows that failed, were not had since, and that `again` chooses; None without any.

    A row keeps its key, and the digest of the picture that was first seen for it. Every shard must be done:
    otherwise it is not known which rows failed (IncompleteError).
    """
    left = dataset.left((IMAGES,))
    if left:
        raise IncompleteError(
            f"--retry-failed needs every shard to be done, {len(left)} of {len(dataset.shards)} are not; run again"
        )
    return _add(dataset, again(_read_failed(dataset)))


def plan_new(dataset: Dataset, source: Source, seen: Seen = unseen) -> Segment | None:
    """Plan shards for the pictures of the source that no plan has yet, by their location; None without any.

    Their keys follow the last one. What is left out now is written down anew.
    Raises RequestError for a plan that is gone, damaged or another: what it does not name any more would pass
    for new.
    """
    for segment in dataset.segments:
        for problem in check_segment(dataset.store, segment):
            raise refuse_plan(dataset.store, problem)
    with dataset.store.scratch() as scratch:
        known = read_known(dataset, scratch)
        recorder = Recorder(dataset.store, known.erased)
        new = (row for row in copy(source).rows(recorder.left_out, seen) if row.location not in known)
        numbered = (replace(row, key=f"{key:09d}") for key, row in enumerate(new, known.last + 1))
        added = _add(dataset, numbered, new=True)
    recorder.close()
    return added


def _add(dataset: Dataset, rows: Iterable[Row], new: bool = False) -> Segment | None:
    segment = write_segment(dataset.store, rows, dataset.description.shard_size, dataset.shards.stop)
    if not segment.shards:
        return None
    segment = replace(segment, new=segment.samples if new else 0)
    dataset.supplement(segment)
    return segment


def _read_failed(dataset: Dataset) -> Iterator[tuple[Row, str]]:
    """The rows that gave no sample at their last try, with the reasons, their keys ascending."""
    images = dataset.receipts(IMAGES)
    tries = LastTries(dataset, images)
    # Of a shard's rows some may have been tried again in others, which the shards next to it have in common.
    plans = lru_cache(CACHED)(lambda shard: {row.key: row for row in dataset.plan(shard)})
    seen = lru_cache(CACHED)(lambda shard: read_seen(dataset.store, shard) or {})

    def read(shard: int) -> list[tuple[Row, str]]:
        found = [(plans(last)[key], last, why) for key, (last, why) in tries.find_failed(shard).items()]
        return [
            (replace(row, digest=row.digest or seen(last).get(row.key)), why)
            for row, last, why in found
            if not is_erased(row.location)
        ]

    for rows in read_ahead(read, list_lossy(dataset, images)):
        yield from rows
