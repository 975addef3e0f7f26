"""From a source to a filled dataset: plan, make the shards, plan again what is new or failed, mark duplicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from t2i_shards.jobs.command import EngineOptions, Summary, summarise
from t2i_shards.jobs.dry_run import dry_run, try_ingest
from t2i_shards.jobs.fill import fill
from t2i_shards.jobs.ingest_summary import Filled, add_counts, add_duplicates, add_yield, number_stage
from t2i_shards.jobs.progress import show_planning
from t2i_shards.jobs.roll_up import index_names, roll_up
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.download_commit import sweep_drafts
from t2i_shards.pipeline.dataset.duplicates import choose_near
from t2i_shards.pipeline.dataset.left import Left, find_left
from t2i_shards.pipeline.dataset.left_out import read_left_out, read_notes
from t2i_shards.pipeline.dataset.plan_digests import check_segment, refuse_plan
from t2i_shards.pipeline.dataset.supplement import plan_new, plan_retry
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.marks import Advanced
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.base import Source
from t2i_shards.pipeline.sources.tree import lies_inside
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import choose_truths, claim_truths, plan_dataset
from t2i_shards.pipeline.stages.stage import Stage, StageResult


@dataclass(frozen=True)
class IngestOptions:
    """What every ingest needs to know."""

    out: Annotated[str, tyro.conf.arg(aliases=["--output-dir"])]
    """ROOT of the dataset: a folder or a URL such as s3://bucket/prefix."""
    shard_size: int = 1000
    """Rows per shard."""
    truth: tuple[str, ...] = ()
    """Conditions to write as columns from the source's own exact maps, which scenes and COCO have."""
    near: Advanced[int | None] = None
    """Mark pictures as duplicates whose perceptual hashes differ in at most so many of 64 bits, 0 to 8: 0 for the
    same file alone, 4 when not given."""
    dry_run: bool = False
    """Say what would be made and how large it would be, by sixteen rows, and write nothing."""
    json: bool = False
    """Print the summary as JSON."""


@dataclass(frozen=True)
class After:
    """What to do when every shard is done. min_yield: None for no bound. where: the place of the pictures."""

    retry_failed: bool = False
    add_new: bool = False
    min_yield: float | None = None
    where: str = ""


def refuse_inside(out: str, read: str) -> None:
    """RequestError where the dataset would be in the folder whose files are read, and become some of them."""
    if Path(read).is_dir() and lies_inside(out, read):
        raise RequestError(f"--out must be outside of the folder that is read, {read}, not at {out}")


def ingest(
    source: Source, geometry: Geometry, options: IngestOptions, engine: EngineOptions, after: After = After()
) -> Summary:
    """Plan, then make every shard that is not done; when all are, do what follows and mark the duplicates."""
    if options.dry_run:
        with dry_run():
            return _try(source, geometry, options, engine, after)
    choose_near(open_store(options.out), options.near)
    recipes = choose_truths(source, options.truth)

    def fill() -> Filled:
        return _fill(source, geometry, options, engine, recipes)

    filled = fill()
    if after.add_new and not filled.summary.problems and _plan_new(filled.dataset, source):
        filled = fill()
    if after.retry_failed and not filled.summary.problems and plan_retry(filled.dataset, source.again):
        filled = fill()
    summary = filled.summary
    with number_stage("names"):
        index_names(filled.dataset, filled.images, engine)
    if filled.whole and after.min_yield is not None:
        summary = add_yield(filled, summary, after.min_yield, after.where, engine)
    summary = add_counts(filled.dataset, summary)
    return add_duplicates(filled, summary, options.near) if filled.whole else summary


def _try(
    source: Source, geometry: Geometry, options: IngestOptions, engine: EngineOptions, after: After
) -> Summary:
    choose_near(open_store(options.out), options.near)
    recipes = choose_truths(source, options.truth)
    dataset, truths, left = _plan(source, geometry, options, recipes)
    if not left.shards and after.add_new and _plan_new(dataset, source):
        left = find_left(dataset, (IMAGES, *truths))
    if not left.shards and after.retry_failed and plan_retry(dataset, source.again):
        left = find_left(dataset, (IMAGES, *truths))
    counts = {"left_out": read_left_out(dataset.store), "notes": read_notes(dataset.store)}
    return try_ingest(Ingest(dataset, source, truths), left.shards, options.out, engine.workers, counts)


def _plan_new(dataset: Dataset, source: Source) -> bool:
    with number_stage("plan"), show_planning() as seen:
        return plan_new(dataset, source, seen) is not None


def _fill(
    source: Source,
    geometry: Geometry,
    options: IngestOptions,
    engine: EngineOptions,
    recipes: Mapping[str, Mapping[str, Any]],
) -> Filled:
    dataset, truths, left = _plan(source, geometry, options, recipes, engine)
    with number_stage("pictures"):
        result, done = fill(dataset, Ingest(dataset, source, truths), left, engine, "pictures")
    sweep_drafts(dataset.store, done)
    with number_stage("roll-ups"):
        roll_up(dataset, (IMAGES, *truths), left.made_again(result.made.keys()), engine, done)
    summary, damaged = summarise("ingest", result, len(dataset.shards)), list[str]()
    # A shard of which a truth failed may have its pictures.
    with_pictures = dataset.done(IMAGES) if truths and result.quarantined else done
    images = dataset.receipts(IMAGES, damaged=damaged, done=with_pictures)
    return Filled(dataset, images, replace(summary, problems=(*summary.problems, *damaged)))


def _plan(
    source: Source,
    geometry: Geometry,
    options: IngestOptions,
    recipes: Mapping[str, Mapping[str, Any]],
    engine: EngineOptions | None = None,
) -> tuple[Dataset, Mapping[str, str], Left]:
    """The dataset, its columns of truth with their recipes, and what is left.

    engine: plans what is long in its workers.
    """
    with number_stage("plan"), show_planning() as seen:
        in_workers = partial(_plan_in_workers, engine) if engine else None
        dataset = plan_dataset(options.out, source, geometry, options.shard_size, seen, in_workers)
    dataset.store.sweep()
    truths = claim_truths(dataset, recipes)
    left = find_left(dataset, (IMAGES, *truths))
    for segment in dataset.segments if left.shards else ():
        for problem in check_segment(dataset.store, segment):
            raise refuse_plan(dataset.store, problem)
    return dataset, truths, left


def _plan_in_workers(
    engine: EngineOptions, stage: Stage, parts: int, done: Callable[[StageResult], None]
) -> list[StageResult]:
    def tell(_: int, result: StageResult | None) -> None:
        if result is not None:
            done(result)

    made = run(stage, range(parts), engine.engine, engine.workers, tell)
    for why in made.quarantined.values():
        raise IncompleteError(f"the plan could not be made: {why}; run again")
    return [made.made[part] for part in range(parts)]
