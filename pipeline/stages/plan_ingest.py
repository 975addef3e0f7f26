"""Planning an ingest: the plan of a dataset from its source, and the columns of the source's own ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from t2i_shards.pipeline.dataset.create import create_dataset
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.plan import Segment
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry, load_geometry
from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.base import Seen, Source, unseen
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.plan_parts import Run, find_parts, write_parts


def plan_dataset(
    root: str, source: Source, geometry: Geometry, shard_size: int, seen: Seen = unseen, run: Run | None = None
) -> Dataset:
    """Make the plan of a new dataset, or open the one that is there. RequestError when it is another's.

    seen: called with the number of rows that were read. run: does long plans in workers.
    """
    if shard_size < 1:
        raise RequestError(f"--shard-size must be at least 1, not {shard_size}")
    source = copy(source)  # it keeps what it measures of its files while this plan is made
    store = open_store(root)
    if "dataset.json" in store.names(""):
        geometry = geometry.resume(load_geometry(Dataset(store).description.geometry))
    described = source.describe(), geometry.record()

    def rows(left_out: LeftOut) -> Iterable[Row] | Segment:
        drafts = PlanDrafts(store)
        if run and (parts := find_parts(source, drafts)):
            try:
                return write_parts(source, drafts, parts, shard_size, left_out, seen, run)
            finally:
                drafts.discard()
        return source.rows(left_out, seen)

    return create_dataset(store, rows, shard_size, *described, crawl=source.crawl)


def choose_truths(source: Source, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """name -> recipe of these conditions. RequestError when the source does not know one of them exactly."""
    known = source.truths()
    if names and not known:
        raise RequestError("this source has no exact maps, so leave --truth out; extract finds conditions itself")
    for name in names:
        if name not in known:
            had = ", ".join(sorted(known))
            raise RequestError(f"--truth must name conditions this source knows exactly ({had}), not {name!r}")
    return {name: known[name] for name in names}


def claim_truths(dataset: Dataset, recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Begin a column for each condition that `choose_truths` gave: name -> recipe digest."""
    return {name: dataset.claim(name, recipe) for name, recipe in recipes.items()}
