"""Begin a dataset: its plan, and last dataset.json; or open the one that was begun with the same request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.description import Description, read_description
from t2i_shards.pipeline.dataset.left_out import Recorder
from t2i_shards.pipeline.dataset.plan import Segment, write_segment
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row

COUNTED = {"rows": "tables_sha256", "metadata_rows": "metadata_sha256"}
"""Of a source, a count of rows -> the digest of the files that it counts, which says whether they are the same:
earlier versions also counted a line of JSON that holds a byte order mark alone."""


def create_dataset(
    store: Store,
    rows: Callable[[LeftOut], Iterable[Row] | Segment],
    shard_size: int,
    source: Mapping[str, Any],
    geometry: Mapping[str, Any],
    crawl: bool = True,
) -> Dataset:
    """Write the plan and, last, dataset.json. Where a dataset of this source and geometry exists, open it.

    rows: gives the rows, or writes their plan files itself, and tells its argument what is left out on purpose;
    asked only when there is no dataset yet, for a plan is made once. crawl: whether the
    pictures are other people's.
    Raises RequestError when this root holds another source, geometry or plan.
    """
    if "dataset.json" in store.names(""):
        _refuse_difference(store, source, geometry, shard_size)
        return Dataset(store)
    recorder = Recorder(store)
    try:
        given = rows(left_out := recorder.left_out)
    except (IncompleteError, FileNotFoundError):
        # Another command that has made the plan meanwhile removes the drafts of this one when its shards are done.
        if "dataset.json" not in store.names(""):
            raise
        _refuse_difference(store, source, geometry, shard_size)
        return Dataset(store)
    segment = given if isinstance(given, Segment) else write_segment(store, given, shard_size)
    counts = ", ".join(f"{reason} {count}" for reason, count in left_out.most_common())
    if not segment.shards:
        raise RequestError(
            "the source has no pictures" + (f" left ({counts})" if counts else "") + "; at least one is needed"
        )
    recorder.write_counts()
    recorder.close()
    description = Description(
        source, geometry, shard_size, segment.shards, segment.samples, segment.plan, crawl=crawl
    )
    if not store.create_bytes("dataset.json", description.encode()):
        _refuse_difference(store, source, geometry, shard_size)
    return Dataset(store)


def _refuse_difference(
    store: Store, source: Mapping[str, Any], geometry: Mapping[str, Any], shard_size: int
) -> None:
    begun = read_description(store)
    had = {**begun.source, **begun.geometry, "shard_size": begun.shard_size}
    wanted = {**source, **geometry, "shard_size": shard_size}
    same = {count for count, digest in COUNTED.items() if had.get(digest) and had[digest] == wanted.get(digest)}
    for name in sorted((had.keys() | wanted.keys()) - same):
        if had.get(name) != wanted.get(name):
            raise RequestError(
                f"{store.root} was made with {name} {had.get(name)!r}, this asks for {wanted.get(name)!r}; "
                "use another --out"
            )
