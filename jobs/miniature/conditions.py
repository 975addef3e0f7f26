"""Rows 1 to 3 of a condition: text alone, with its adapter, and with another scene's condition."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2i_shards.adapters.evaluation.report import ANOTHER, OWN_PICTURE, WITH, WITHOUT
from t2i_shards.extractors.atomic import write_file, write_json
from t2i_shards.jobs.miniature.captions import describe_judge, load_judge
from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.recipe import Name, plan_evaluation, plan_training
from t2i_shards.jobs.miniature.row import is_same, read_part
from t2i_shards.jobs.progress import show_pictures

JUDGED = (WITHOUT, WITH, ANOTHER, OWN_PICTURE)
"""Which of the evaluation's pictures are compared with their captions."""


def find_condition(experiment: Experiment, condition: Name) -> Mapping[str, Any] | None:
    """What was made as it is asked for now; None where there is none."""
    found, asked = read_part(_file(experiment, condition)), _ask(experiment, condition)
    if found is None or not is_same(found["asked"], asked):
        return None
    return found if found["asked"].get("captions") == asked["captions"] else None


def make_condition(experiment: Experiment, condition: Name) -> Mapping[str, Any]:
    """Train and evaluate, unless just that was done."""
    from t2i_shards.adapters.evaluation.evaluate import evaluate

    done = find_condition(experiment, condition)
    if done is not None:
        return done
    run, out = experiment.run_of(condition), experiment.out / condition
    started = time.process_time()
    experiment.do(plan_training(condition, experiment.training_data, run, experiment.steps_of(condition)))
    trained = time.process_time() - started
    config = plan_evaluation(condition, experiment.held_out, run, out, experiment.samples, experiment.seeds)
    with show_pictures("evaluate", measured=True) as progress:
        evaluation = evaluate(config, progress)
    judge = load_judge(experiment)
    captions = {title: judge(evaluation.pictures[title](), evaluation.captions) for title in JUDGED}
    seconds = {"training": trained, "evaluation": time.process_time() - started - trained}
    hours = {name: value / 3600 for name, value in seconds.items()}
    row = {
        "asked": _ask(experiment, condition),
        "cpu_hours": hours,
        **evaluation.record(),
        "captions": captions,
    }
    write_json(_file(experiment, condition), row)
    write_file(experiment.out / f"{condition}.png", (out / "sheet.png").read_bytes())
    return row


def _file(experiment: Experiment, condition: Name) -> Path:
    return experiment.out / "rows" / f"{condition}.json"


def _ask(experiment: Experiment, condition: Name) -> dict[str, Any]:
    return {
        "condition": condition,
        **experiment.asked((condition,)),
        "samples": experiment.samples,
        "seeds": experiment.seeds,
        "captions": describe_judge(),
    }
