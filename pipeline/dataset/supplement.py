"""Shards that are added to a dataset: for rows that failed and may succeed now, and for pictures that are new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import TypeAlias

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.download_commit import read_seen
from t2i_shards.pipeline.dataset.erased_plan import erased_location, is_erased
from t2i_shards.pipeline.dataset.left_out import Recorder
from t2i_shards.pipeline.dataset.outcomes import OK, read_outcomes
from t2i_shards.pipeline.dataset.plan import Segment, write_segment
from t2i_shards.pipeline.dataset.plan_digests import PlanReader, check_segment, refuse_plan
from t2i_shards.pipeline.errors import IncompleteError
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
    chosen = again(_read_rows(dataset, find_failed(dataset)))
    return _add(dataset, sorted(chosen, key=lambda row: row.key))


def plan_new(dataset: Dataset, source: Source, seen: Seen = unseen) -> Segment | None:
    """Plan shards for the pictures of the source that no plan has yet, by their location; None without any.

    Their keys follow the last one. What is left out now is written down anew.
    Raises RequestError for a plan that is gone, damaged or another: what it does not name any more would pass
    for new.
    """
    for segment in dataset.segments:
        for problem in check_segment(dataset.store, segment):
            raise refuse_plan(dataset.store, problem)
    plans = PlanReader(dataset.store, dataset.segments)
    rows = [row for shard in dataset.shards for row in plans.read(shard)]
    known, last = {row.location for row in rows}, max(int(row.key) for row in rows)
    recorder = Recorder(dataset.store)
    new = (
        row
        for row in copy(source).rows(recorder.left_out, seen)
        if row.location not in known and erased_location(row.location) not in known
    )
    added = _add(dataset, (replace(row, key=f"{key:09d}") for key, row in enumerate(new, last + 1)), new=True)
    recorder.close()
    return added


def _add(dataset: Dataset, rows: Iterable[Row], new: bool = False) -> Segment | None:
    segment = write_segment(dataset.store, rows, dataset.description.shard_size, dataset.shards.stop)
    if not segment.shards:
        return None
    segment = replace(segment, new=segment.samples if new else 0)
    dataset.supplement(segment)
    return segment


def find_failed(dataset: Dataset) -> Mapping[str, tuple[int, str]]:
    """key -> (the shard where it was last tried, why it gave no sample), of the rows that gave none."""
    failed: dict[str, tuple[int, str]] = {}
    for shard, table in read_outcomes(dataset, ("key", "status")):
        for key, status in zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True):
            # A later shard's word counts: it was the later try.
            failed.pop(key, None)
            if status != OK:
                failed[key] = (shard, status)
    return failed


def _read_rows(dataset: Dataset, failed: Mapping[str, tuple[int, str]]) -> Iterator[tuple[Row, str]]:
    """The planned rows of these keys, shard after shard, with the reasons."""
    by_shard: dict[int, dict[str, str]] = defaultdict(dict)
    for key, (shard, reason) in failed.items():
        by_shard[shard][key] = reason
    for shard, reasons in by_shard.items():
        seen = read_seen(dataset.store, shard) or {}
        for row in dataset.plan(shard):
            if row.key in reasons and not is_erased(row.location):
                yield replace(row, digest=row.digest or seen.get(row.key)), reasons[row.key]
