"""Row 7: training with cubic against uniform time steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2i_shards.adapters.training.config import Schedule
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.painting import TEXT_ALONE, Way, count, paint, show
from t2i_shards.jobs.miniature.recipe import OPTIMIZER
from t2i_shards.jobs.miniature.row import Case, Row, each_alone
from t2i_shards.jobs.miniature.workshop import Workshop

if TYPE_CHECKING:
    import numpy as np

SCHEDULES: tuple[Schedule, ...] = ("cubic", "uniform")


def compare_schedules(workshop: Workshop, case: Case) -> Sequence[Finding]:
    (condition,) = case
    alone = count(workshop, condition, paint(workshop, TEXT_ALONE))
    findings = []
    made: dict[str, Sequence[np.ndarray]] = {}
    for schedule in SCHEDULES:
        variant = "" if schedule == OPTIMIZER.timesteps else schedule
        adapter = workshop.train(condition, variant, timesteps=schedule)
        made[schedule] = paint(workshop, Way({condition: adapter}))
        findings.append(find(schedule, condition, count(workshop, condition, made[schedule]), alone))
    show(workshop, f"07-{condition}", case, made)
    return findings


TIMESTEPS = Row(7, "time steps of the training", each_alone, compare_schedules, trains=True)
