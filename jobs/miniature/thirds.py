"""Row 9: the adapter active in one third of the denoising alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.painting import TEXT_ALONE, Way, count, paint, show
from t2i_shards.jobs.miniature.recipe import sampling_of
from t2i_shards.jobs.miniature.row import Case, Row, each_alone
from t2i_shards.jobs.miniature.workshop import Workshop

PARTS = ("all", "beginning", "middle", "late")


def compare_thirds(workshop: Workshop, case: Case) -> Sequence[Finding]:
    (condition,) = case
    adapter = workshop.train(condition)
    alone = count(workshop, condition, paint(workshop, TEXT_ALONE))
    made = {
        part: paint(workshop, Way({condition: adapter}, replace(sampling_of(condition), active_steps=part)))
        for part in PARTS
    }
    show(workshop, f"09-{condition}", case, made)
    return [
        find(f"active in {part}", condition, count(workshop, condition, pictures), alone)
        for part, pictures in made.items()
    ]


THIRDS = Row(9, "thirds of the denoising", each_alone, compare_thirds)
