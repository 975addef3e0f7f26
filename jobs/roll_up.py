"""What extract and ingest do last: roll up the receipts of what they have finished, and index its names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping, Sequence

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.shard_progress import show_progress
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.errors import IncompleteError, RequestError, describe_error
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.stages.index_names import plan_index
from t2i_shards.pipeline.stages.roll_up import plan_roll_up
from t2i_shards.pipeline.stages.stage import FEW, Stage

log = logging.getLogger(__name__)


def roll_up(
    dataset: Dataset,
    columns: Sequence[str],
    made: Mapping[str, Container[int]],
    engine: EngineOptions,
    done: Container[int] | None = None,
) -> None:
    """Make the roll-ups that these columns lack. What prevents one is logged: the receipts suffice without it.

    made: see `plan_roll_up`. done: shards that all of them have, where they are known.
    """

    def plan() -> tuple[Stage, int]:
        stage = plan_roll_up(dataset, columns, made, done)
        return stage, len(stage.ranges)

    _make("roll-ups", plan, engine)


def index_names(dataset: Dataset, images: ReceiptTable, engine: EngineOptions) -> None:
    """Index the names that have no index. A failure is logged: the plans suffice without an index."""

    def plan() -> tuple[Stage, int]:
        stage = plan_index(dataset, images)
        return stage, len(stage.pieces)

    _make("indices of names", plan, engine)


def _make(what: str, plan: Callable[[], tuple[Stage, int]], engine: EngineOptions) -> None:
    """Run the stage that is planned, here where it has little to do."""
    try:
        stage, count = plan()
        if count <= FEW:
            for number in range(count):
                stage(number)
            return
        with show_progress(what, count, count) as progress:
            made = run(stage, range(count), engine.engine, engine.workers, progress, keep=False)
        for why in made.quarantined.values():
            log.warning("one of the %s could not be made: %s", what, why)
    except (RequestError, IncompleteError, OSError) as error:
        log.warning("%s could not be made: %s", what, describe_error(error))
