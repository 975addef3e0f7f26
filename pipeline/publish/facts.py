"""What a card tells of a publication: who made what, under which terms, and where the rest of the rows went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.dataset import IMAGES
from pipeline.dataset.download_yield import measure_yield
from pipeline.dataset.plan import read_left_out
from pipeline.download.reasons import kind_of
from pipeline.publish.assignment import Choice
from pipeline.publish.config import without_paths
from pipeline.publish.manifest import Line, by_split
from pipeline.publish.plan import Plan
from pipeline.publish.survey import SurveyResult, reasons_of
from pipeline.publish.weights import Weights, find_weights
from pipeline.shards.commit import tar_path

OPTED_OUT = "opted out"


@dataclass(frozen=True)
class Maker:
    """A column and who made it. licence: of the annotations, where no network made them."""

    column: str
    members: tuple[str, ...]
    by: str
    licence: str
    weights: tuple[Weights, ...]
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """What a step let through: of `rows`, `lost` by reason."""

    name: str
    rows: int
    lost: Mapping[str, int]

    @property
    def kept(self) -> int:
        return self.rows - sum(self.lost.values())


@dataclass(frozen=True)
class Facts:
    """All that the card, the data about the data and the contact sheet are made of."""

    title: str
    contact: str
    claim: Mapping[str, Any]
    members: tuple[str, ...]
    lines: tuple[Line, ...]
    makers: tuple[Maker, ...]
    stages: tuple[Stage, ...]
    opted_out: int
    licences: Mapping[str, int]
    crawl: bool
    revisions: tuple[Mapping[str, Any], ...] = ()

    @property
    def splits(self) -> dict[str, list[Line]]:
        return by_split(self.lines)

    @property
    def samples(self) -> int:
        return sum(line.samples for line in self.lines)

    @property
    def bytes(self) -> int:
        return sum(line.bytes for line in self.lines)

    @property
    def pictures(self) -> bool:
        return bool(self.claim["pictures"])


def collect_facts(
    plan: Plan,
    choice: Choice,
    surveyed: Mapping[int, SurveyResult],
    lines: Sequence[Line],
    revisions: Sequence[Mapping[str, Any]],
) -> Facts:
    """The facts of a publication whose shards `lines` are done. A pure function of dataset and request."""
    members = {column: of for look in surveyed.values() for column, of in look.members.items()}
    stages, opted_out = _stages(plan)
    removed = sum(line.removed for line in lines)
    last = choice.left_out(reasons_of(plan.columns))
    if removed:
        last["removed"] = last.get("removed", 0) + removed
    pictures = sum(receipt.samples for receipt in plan.receipts[IMAGES].values())
    stages.append(Stage("publishing", pictures, last))
    licences = Counter[str]()
    for look in surveyed.values():
        licences.update(look.licences)
    return Facts(
        title=_title(plan),
        contact=plan.asked.contact,
        claim=plan.claim,
        members=tuple(plan.members(surveyed)),
        lines=tuple(lines),
        makers=tuple(_maker(plan, column, members.get(column, ())) for column in plan.columns[1:]),
        stages=tuple(stages),
        opted_out=opted_out,
        licences=dict(sorted(licences.items())),
        crawl=plan.dataset.description.is_crawl,
        revisions=tuple(revisions),
    )


def collect_standing(plan: Plan, members: Mapping[str, tuple[str, ...]]) -> Facts:
    """The facts of a dataset that is published as it stands. members: of every column; the Facts' are images'."""
    stages, opted_out = _stages(plan)
    return Facts(
        title=_title(plan),
        contact=plan.asked.contact,
        claim=plan.claim,
        members=members[IMAGES],
        lines=tuple(
            Line(tar_path(IMAGES, shard), IMAGES, r.samples, r.bytes, r.sha256, members[IMAGES])
            for shard, r in sorted(plan.receipts[IMAGES].items())
        ),
        makers=tuple(_maker(plan, column, members[column]) for column in plan.columns[1:]),
        stages=tuple(stages),
        opted_out=opted_out,
        licences={},
        crawl=plan.dataset.description.is_crawl,
    )


def check_weights(plan: Plan) -> None:
    """RequestError for a recipe whose weights have no digest."""
    for column in plan.columns[1:]:
        list(find_weights(plan.dataset.recipe(column), column))


def _title(plan: Plan) -> str:
    return plan.asked.title or f"T2I-Adapter conditions ({plan.dataset.description.source['kind']})"


def _stages(plan: Plan) -> tuple[list[Stage], int]:
    """What each step before the publication let through, and how many pictures their hosts refused."""
    found, left_out = measure_yield(plan.dataset), read_left_out(plan.dataset.store)
    stages = [
        Stage("choosing rows", found.planned + sum(left_out.values()), left_out),
        Stage("getting pictures", found.planned, dict(sorted(found.reasons.items()))),
    ]
    for column in plan.columns[1:]:
        drops = Counter[str]()
        for receipt in plan.receipts[column].values():
            drops.update(receipt.drops)
        stages.append(Stage(column, sum(r.planned for r in plan.receipts[column].values()), dict(drops)))
    return stages, sum(count for reason, count in found.reasons.items() if kind_of(reason) == OPTED_OUT)


def _maker(plan: Plan, column: str, members: tuple[str, ...]) -> Maker:
    recipe = without_paths(dict(plan.dataset.recipe(column) or {}))
    name = recipe.get("extractor", recipe.get("made_by", "unknown"))
    # What is drawn by a rule alone has no terms but the picture's.
    unsaid = "none of its own" if "extractor" in recipe else "not told"
    parts = [str(part) for part in (name, recipe.get("variant")) if part]
    if "made_by" in recipe:
        parts.append("ground truth of the source")
    return Maker(
        column,
        members,
        ", ".join(parts),
        str(recipe.get("licence") or unsaid),
        tuple(find_weights(recipe, column)),
        recipe,
    )
