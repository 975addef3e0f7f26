"""Retry: rows that failed in a way that may pass get supplementary shards; those that were refused never do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pipeline.dataset.dataset import IMAGES, Dataset
from pipeline.dataset.download_commit import read_seen
from pipeline.dataset.outcomes import OK, read_outcomes
from pipeline.dataset.plan import Segment, write_segment
from pipeline.download.reasons import kind_of
from pipeline.errors import IncompleteError
from pipeline.sources.row import Row


def plan_retry(dataset: Dataset) -> Segment | None:
    """Plan shards for the rows that failed in a way that may pass and were not had since; None without any.

    A row keeps its key, and the digest of the picture that was first seen for it. Every shard must be done:
    otherwise it is not known which rows failed (IncompleteError).
    """
    left = dataset.left((IMAGES,))
    if left:
        raise IncompleteError(
            f"--retry-failed needs every shard to be done, {len(left)} of {len(dataset.shards)} are not; run again"
        )
    failed = find_passing(dataset)
    if not failed:
        return None
    segment = write_segment(
        dataset.store, _rows(dataset, failed), dataset.description.shard_size, dataset.shards.stop
    )
    dataset.supplement(segment)
    return segment


def find_passing(dataset: Dataset) -> Mapping[str, int]:
    """key -> the shard where it was last tried, of the rows that may yet be had; keys ascend."""
    failed: dict[str, int] = {}
    for shard, table in read_outcomes(dataset, ("key", "status")):
        for key, status in zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True):
            # A later shard's word counts: it was the later try.
            failed.pop(key, None)
            if status != OK and kind_of(status) == "passing":
                failed[key] = shard
    return dict(sorted(failed.items()))


def _rows(dataset: Dataset, failed: Mapping[str, int]) -> Iterator[Row]:
    """The planned rows of these keys, in the order of the keys.

    Keys ascend within a segment, so each segment is read once, shard after shard, and the segments merged.
    """
    by_shard: dict[int, set[str]] = defaultdict(set)
    for key, shard in failed.items():
        by_shard[shard].add(key)
    rows: list[Row] = []
    for shard, keys in by_shard.items():
        seen = read_seen(dataset.store, shard) or {}
        for row in dataset.plan(shard):
            if row.key in keys:
                rows.append(replace(row, digest=row.digest or seen.get(row.key)))
    yield from sorted(rows, key=lambda row: row.key)
