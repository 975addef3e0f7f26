"""Ways to do the parts of a plan."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

from t2i_shards.pipeline.engine import run as run_stage
from t2i_shards.pipeline.stages.plan_parts import Run
from t2i_shards.pipeline.stages.stage import Stage, StageResult


def here(order: Callable[[int], Sequence[int]] = range) -> Run:
    """Does the parts of a stage in this process, in this order."""

    def run(stage: Stage, parts: int, done: Callable[[StageResult], None]) -> list[StageResult]:
        made = {}
        for part in order(parts):
            sent: Stage = pickle.loads(pickle.dumps(stage))  # noqa: S301  (as an engine sends it)
            made[part] = sent(part)
            done(made[part])
        return [made[part] for part in range(parts)]

    return run


def backwards(parts: int) -> Sequence[int]:
    return range(parts)[::-1]


def in_a_worker(stage: Stage, parts: int, done: Callable[[StageResult], None]) -> list[StageResult]:
    made = run_stage(stage, range(parts), "local", 1, lambda _, result: done(result) if result else None)
    return [made.made[part] for part in range(parts)]
