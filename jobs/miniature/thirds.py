"""Row 9: the adapter active in one third of the denoising alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.generation import TEXT_ALONE, GenerationConfig, count, generate_pictures, show
from t2i_shards.jobs.miniature.recipe import sampling_of
from t2i_shards.jobs.miniature.row import Case, Row, each_alone

PARTS = ("all", "beginning", "middle", "late")


def compare_thirds(experiment: Experiment, case: Case) -> Sequence[Finding]:
    (condition,) = case
    adapter = experiment.train(condition)
    alone = count(experiment, condition, generate_pictures(experiment, TEXT_ALONE))
    made = {
        part: generate_pictures(
            experiment, GenerationConfig({condition: adapter}, replace(sampling_of(condition), active_steps=part))
        )
        for part in PARTS
    }
    show(experiment, f"09-{condition}", case, made)
    return [
        find(f"active in {part}", condition, count(experiment, condition, pictures), alone)
        for part, pictures in made.items()
    ]


THIRDS = Row(9, "thirds of the denoising", each_alone, compare_thirds)
