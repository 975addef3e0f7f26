"""The digests of plan files, for each thousand of shards, so that continuing does not mean reading the whole plan.

All of them together are what the digest in dataset.json, or in a supplement, is made of. Small segments have none.
Where they are damaged, or an earlier version wrote none, the plans are read once and the digests written again.
"""

from __future__ import annotations

from collections.abc import Sequence

from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.pipeline.dataset.plan import (
    LISTED,
    THOUSAND,
    Segment,
    digest_segment,
    digests_path,
    keep_digests,
    read_plan,
    verify_segment,
)
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.remedy import COPY
from t2i_shards.pipeline.shards.receipt import digest_json
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.sources.row import Row


def refuse_plan(store: Store, problem: str) -> RequestError:
    """What to raise where a plan is gone, damaged or another, as this line says."""
    joint = ", or" if problem.endswith(COPY) else ";"
    return RequestError(f"{store.root}: {problem}{joint} make the dataset again in another --out")


def check_segment(store: Store, segment: Segment) -> list[str]:
    """`verify_segment` without reading the plan, where its digests are kept: workers compare what they read.

    Digests that are damaged, or others, are replaced.
    """
    if segment.shards < LISTED:
        return verify_segment(store, segment)
    starts = segment.numbers[::THOUSAND]
    parts = [_read(store, start) for start in starts]
    if digest_json([digest for part in parts for digest in part or ()]) == segment.plan:
        return []
    store.discard_all([digests_path(start) for start in starts])
    digests, errors = digest_segment(store, segment)
    if not errors:
        keep_digests(store, segment.first, digests)
    return errors


def _read(store: Store, start: int) -> list[str] | None:
    try:
        return decode_record(store.load(digests_path(start)), list[str])
    except (FileNotFoundError, BadRecord):
        return None


class PlanReader:
    """Reads plans, and compares them with their digests where these are kept."""

    def __init__(self, store: Store, segments: Sequence[Segment]) -> None:
        self._store, self._segments = store, segments
        self._thousand: tuple[int, list[str] | None] = (-1, None)

    def read(self, shard: int) -> list[Row]:
        """As `read_plan`. Raises RequestError for a plan that is gone, damaged or another."""
        try:
            return read_plan(self._store, shard, self._find(shard))
        except DamagedShard as error:
            raise refuse_plan(self._store, str(error)) from None

    def _find(self, shard: int) -> str | None:
        segment = next(segment for segment in self._segments if shard in segment.numbers)
        if segment.shards < LISTED:
            return None
        place = (shard - segment.first) % THOUSAND
        first, digests = self._thousand  # at once: several threads may read
        if first != shard - place:
            digests = _read(self._store, shard - place)
            self._thousand = shard - place, digests
        return digests[place] if digests and place < len(digests) else None
