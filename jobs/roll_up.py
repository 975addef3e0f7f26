"""What extract and ingest do last: roll up the receipts of what they have finished."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from t2i_shards.jobs.command import FEW, EngineOptions
from t2i_shards.jobs.progress import show_progress
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.engine import RunResult, run
from t2i_shards.pipeline.errors import IncompleteError, RequestError, describe_error
from t2i_shards.pipeline.stages.roll_up import plan_roll_up

log = logging.getLogger(__name__)


def roll_up(dataset: Dataset, columns: Sequence[str], result: RunResult, engine: EngineOptions) -> None:
    """Make the roll-ups that these columns lack. What keeps one from being made is named; the receipts suffice."""
    try:
        stage = plan_roll_up(dataset, columns, result.made)
        ranges = range(len(stage.ranges))
        if len(ranges) <= FEW:
            for number in ranges:
                stage(number)
            return
        with show_progress("roll up", len(ranges), len(ranges)) as progress:
            made = run(stage, ranges, engine.engine, engine.workers, progress)
        for why in made.quarantined.values():
            log.warning("a roll-up could not be made: %s", why)
    except (RequestError, IncompleteError, OSError) as error:
        log.warning("roll-ups could not be made: %s", describe_error(error))
