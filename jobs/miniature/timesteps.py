"""Row 7: training with cubic against uniform time steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2i_shards.adapters.training.config import Schedule
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.generation import TEXT_ALONE, GenerationConfig, count, generate_pictures, show
from t2i_shards.jobs.miniature.recipe import OPTIMIZER
from t2i_shards.jobs.miniature.row import Case, Row, each_alone

if TYPE_CHECKING:
    import numpy as np

SCHEDULES: tuple[Schedule, ...] = ("cubic", "uniform")


def compare_schedules(experiment: Experiment, case: Case) -> Sequence[Finding]:
    (condition,) = case
    alone = count(experiment, condition, generate_pictures(experiment, TEXT_ALONE))
    findings = []
    made: dict[str, Sequence[np.ndarray]] = {}
    for schedule in SCHEDULES:
        variant = "" if schedule == OPTIMIZER.timesteps else schedule
        adapter = experiment.train(condition, variant, timesteps=schedule)
        made[schedule] = generate_pictures(experiment, GenerationConfig({condition: adapter}))
        findings.append(find(schedule, condition, count(experiment, condition, made[schedule]), alone))
    show(experiment, f"07-{condition}", case, made)
    return findings


TIMESTEPS = Row(7, "time steps of the training", each_alone, compare_schedules, trains=True)
