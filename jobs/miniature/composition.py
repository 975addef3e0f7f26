"""Row 4: two conditions composed, each measured."""

from __future__ import annotations

from collections.abc import Sequence

from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.generation import TEXT_ALONE, GenerationConfig, count, generate_pictures, show
from t2i_shards.jobs.miniature.recipe import Name
from t2i_shards.jobs.miniature.row import Case, Row

PAIRS: tuple[Case, ...] = (("depth", "keypose"), ("sketch", "color"))


def choose_pairs(conditions: Sequence[Name]) -> Sequence[Case]:
    return [pair for pair in PAIRS if set(pair) <= set(conditions)]


def compose_two(experiment: Experiment, case: Case) -> Sequence[Finding]:
    """Their features added; see `own_weights`."""
    adapters = {condition: experiment.train(condition) for condition in case}
    configs = {
        "text alone": TEXT_ALONE,
        **{f"{condition} alone": GenerationConfig({condition: adapters[condition]}) for condition in case},
        "both": GenerationConfig(adapters),
    }
    made = {what: generate_pictures(experiment, config) for what, config in configs.items()}
    show(experiment, f"04-{'-'.join(case)}", case, made)
    findings = []
    for condition in case:
        alone = count(experiment, condition, made["text alone"])
        for what, pictures in made.items():
            findings.append(find(what, condition, count(experiment, condition, pictures), alone))
    return findings


COMPOSITION = Row(4, "two conditions composed", choose_pairs, compose_two)
