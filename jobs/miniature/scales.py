"""Row 8: features for fewer scales of the UNet's way down; adapters are trained and used so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.generation import TEXT_ALONE, GenerationConfig, count, generate_pictures, show
from t2i_shards.jobs.miniature.recipe import Name, plan_training
from t2i_shards.jobs.miniature.row import Case, Row, each_alone
from t2i_shards.pipeline.plain import number_of

if TYPE_CHECKING:
    import numpy as np

SCALES = (4, 3, 2, 1)


def compare_scales(experiment: Experiment, case: Case) -> Sequence[Finding]:
    (condition,) = case
    alone = count(experiment, condition, generate_pictures(experiment, TEXT_ALONE))
    made, findings = {}, []
    for scales in SCALES:
        made[f"{scales} of 4"] = pictures = _paint_with(experiment, condition, scales)
        findings.append(find(f"{scales} of 4 scales", condition, count(experiment, condition, pictures), alone))
    show(experiment, f"08-{condition}", case, made)
    return findings


def _paint_with(experiment: Experiment, condition: Name, scales: int) -> Sequence[np.ndarray]:
    if scales == max(SCALES):
        return generate_pictures(experiment, GenerationConfig({condition: experiment.train(condition)}))
    from t2i_shards.adapters.model.convert import read_adapter
    from t2i_shards.adapters.training.trainer import train
    from t2i_shards.jobs.miniature.shallow import make_shallow

    base, run = make_shallow(experiment.base, scales), experiment.run_of(condition, f"scales{scales}")
    summary = train(
        plan_training(condition, experiment.training_data, run, experiment.steps_of(condition)).config, base=base
    )
    experiment.say(f"{run}: {number_of(summary.steps, 'step')}, {summary.new_steps} of them now")
    return generate_pictures(experiment, GenerationConfig({condition: read_adapter(run / "adapter")}, base=base))


ENCODER_SCALES = Row(8, "scales of the encoder", each_alone, compare_scales, trains=True)
