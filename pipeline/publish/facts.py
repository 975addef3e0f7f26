"""What a card says of a publication: who made what, under which terms, and where the rest of the rows went."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.left_out import read_left_out
from t2i_shards.pipeline.dataset.losses import Yield
from t2i_shards.pipeline.dataset.provenance import Provenance, read_provenance
from t2i_shards.pipeline.download.reasons import kind_of
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.publish.assignment import Choice
from t2i_shards.pipeline.publish.manifest import Line, by_split
from t2i_shards.pipeline.publish.plan import Plan
from t2i_shards.pipeline.publish.survey import SurveyResult
from t2i_shards.pipeline.shards.commit import tar_path

OPTED_OUT = "opted out"
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Step:
    """What a step let through: of `rows`, `lost` by reason."""

    name: str
    rows: int
    lost: Mapping[str, int]

    @property
    def kept(self) -> int:
        return self.rows - sum(self.lost.values())


@dataclass(frozen=True)
class Facts:
    """All that the card, the data about the data and the contact sheet are made of.

    makers: of each column but images, with the members of its samples.
    """

    title: str
    contact: str
    claim: Mapping[str, Any]
    members: tuple[str, ...]
    lines: tuple[Line, ...]
    makers: tuple[tuple[Provenance, tuple[str, ...]], ...]
    stages: tuple[Step, ...]
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
    found: Yield,
) -> Facts:
    """The facts of a publication whose shards `lines` are done. A pure function of dataset and request.

    found: what became of the dataset's rows.
    """
    members = {column: of for look in surveyed.values() for column, of in look.members.items()}
    removed = sum(line.removed for line in lines)
    last = plan.count_left_out(choice)
    if removed:
        last["removed"] = last.get("removed", 0) + removed
    pictures = sum(receipt.samples for receipt in plan.receipts[IMAGES].values())
    licences = Counter[str]()
    for look in surveyed.values():
        licences.update(look.licences)
    facts = _facts(plan, tuple(plan.members(surveyed)), members, lines, licences, found)
    return replace(facts, stages=(*facts.stages, Step("publishing", pictures, last)), revisions=tuple(revisions))


def collect_copy_facts(
    plan: Plan, members: Mapping[str, tuple[str, ...]], licences: Mapping[str, int], found: Yield
) -> Facts:
    """The facts of a dataset that is published as it is. members: of every column; the Facts' are images'.

    found: what became of the dataset's rows.
    """
    lines = [
        Line(plan.place(tar_path(IMAGES, shard)), IMAGES, r.samples, r.bytes, r.sha256, members[IMAGES])
        for shard, r in sorted(plan.receipts[IMAGES].items())
    ]
    return _facts(plan, members[IMAGES], members, lines, licences, found)


def _facts(
    plan: Plan,
    members: tuple[str, ...],
    by_column: Mapping[str, tuple[str, ...]],
    lines: Sequence[Line],
    licences: Mapping[str, int],
    found: Yield,
) -> Facts:
    """What publications of both layouts have. members: of a published sample; by_column: of each column's."""
    stages, opted_out = _stages(plan, found)
    return Facts(
        title=plan.asked.title or f"T2I-Adapter conditions ({plan.dataset.description.source['kind']})",
        contact=plan.asked.contact,
        claim=plan.claim,
        members=members,
        lines=tuple(lines),
        makers=tuple((read_provenance(plan.dataset, c), by_column.get(c, ())) for c in plan.columns[1:]),
        stages=tuple(stages),
        opted_out=opted_out,
        licences=dict(sorted(licences.items())),
        crawl=plan.dataset.description.is_crawl,
    )


def check_weights(plan: Plan) -> None:
    """RequestError for a recipe whose weights have no digest."""
    for column in plan.columns[1:]:
        for weights in read_provenance(plan.dataset, column).weights:
            if not SHA256.fullmatch(weights.sha256):
                raise RequestError(
                    f"{column}/column.json: the sha256 of {weights.file[:100]!r} must be 64 hexadecimal digits, "
                    f"not {weights.sha256[:100]!r}"
                )


def _stages(plan: Plan, found: Yield) -> tuple[list[Step], int]:
    """What each step before the publication let through, and how many pictures their hosts refused."""
    left_out = read_left_out(plan.dataset.store)
    stages = [
        Step("choosing rows", found.planned + sum(left_out.values()), left_out),
        Step("getting pictures", found.planned, dict(sorted(found.reasons.items()))),
    ]
    for column in plan.columns[1:]:
        drops = Counter[str]()
        for receipt in plan.receipts[column].values():
            drops.update(receipt.drops)
        stages.append(Step(column, sum(r.planned for r in plan.receipts[column].values()), dict(drops)))
    return stages, sum(count for reason, count in found.reasons.items() if kind_of(reason) == OPTED_OUT)
