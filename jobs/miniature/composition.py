"""Row 4: two conditions composed, each measured."""

from __future__ import annotations

from collections.abc import Sequence

from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.painting import TEXT_ALONE, Way, count, paint, show
from t2i_shards.jobs.miniature.recipe import Name
from t2i_shards.jobs.miniature.row import Case, Row
from t2i_shards.jobs.miniature.workshop import Workshop

PAIRS: tuple[Case, ...] = (("depth", "keypose"), ("sketch", "color"))


def choose_pairs(conditions: Sequence[Name]) -> Sequence[Case]:
    return [pair for pair in PAIRS if set(pair) <= set(conditions)]


def compose_two(workshop: Workshop, case: Case) -> Sequence[Finding]:
    """Their features added; see `own_weights`."""
    adapters = {condition: workshop.train(condition) for condition in case}
    ways = {
        "text alone": TEXT_ALONE,
        **{f"{condition} alone": Way({condition: adapters[condition]}) for condition in case},
        "both": Way(adapters),
    }
    made = {what: paint(workshop, way) for what, way in ways.items()}
    show(workshop, f"04-{'-'.join(case)}", case, made)
    findings = []
    for condition in case:
        alone = count(workshop, condition, made["text alone"])
        for what, pictures in made.items():
            findings.append(find(what, condition, count(workshop, condition, pictures), alone))
    return findings


COMPOSITION = Row(4, "two conditions composed", choose_pairs, compose_two)
