"""What ingest and extract do with the shards that are left: make them, and look whether all are there."""

from __future__ import annotations

import logging
from dataclasses import replace

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.shard_progress import show_progress
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.left import Left
from t2i_shards.pipeline.engine import RunResult, run
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.stages.stage import Stage
from t2i_shards.pipeline.stages.thousands import Thousands, WithRollUps

log = logging.getLogger(__name__)


def fill(
    dataset: Dataset, stage: Stage, left: Left, engine: EngineOptions, name: str
) -> tuple[RunResult, set[int]]:
    """Make what is left, and what is then found missing. What it came to, and the shards that all columns have.

    name: of what is made, for the progress.
    """
    result = _make(dataset, stage, left, engine, name)
    if not left.believed:
        return result, set(dataset.shards).difference(left.shards).union(result.made)
    gone = [shard for shard in dataset.left(list(left.roll_ups)) if shard not in result.made]
    if again := [shard for shard in gone if shard not in result.quarantined]:
        first = shard_name(again[0])
        log.warning("receipts that roll-ups have are gone: %s made again, the first %s", len(again), first)
        result.extend(_make(dataset, stage, replace(left, shards=again), engine, name))
    return result, set(dataset.shards).difference(gone).union(result.made)


def _make(dataset: Dataset, stage: Stage, left: Left, engine: EngineOptions, name: str) -> RunResult:
    shards, thousands = left.shards, Thousands(dataset, left)
    whole = WithRollUps(stage, thousands.stage)
    with show_progress(name, len(shards), len(dataset.shards), True, dataset.planned) as progress:
        return run(whole, shards, engine.engine, engine.workers, progress, keep=False, follow=thousands)
