"""A publication from request to signature; the caller runs its stages over the shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.losses import Yield
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.publish import copy_columns
from t2i_shards.pipeline.publish.card import render_cards
from t2i_shards.pipeline.publish.config import Publication
from t2i_shards.pipeline.publish.continued import as_claimed, check_order
from t2i_shards.pipeline.publish.facts import check_weights, collect_copy_facts
from t2i_shards.pipeline.publish.finish import Finished, check_packed, finish
from t2i_shards.pipeline.publish.kept import published_description, published_segments
from t2i_shards.pipeline.publish.pack import data_path, index_paths, receipt_path
from t2i_shards.pipeline.publish.plan import Plan, plan_publish, read_claim
from t2i_shards.pipeline.publish.readers import Reader
from t2i_shards.pipeline.publish.revision import choose_removals, discard_stale
from t2i_shards.pipeline.publish.survey import SurveyResult, refuse_unfetchable
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stages.count_losses import measure_yield
from t2i_shards.pipeline.stages.stage import Stage

Work = Callable[[str, Stage, Sequence[int], int], RunResult]
"""Does a stage for shards: (what it is called, stage, shards, of how many)."""
Limit = Callable[[Collection[str]], None]
"""Raises RequestError for file names that the place will not take."""


@dataclass(frozen=True)
class Published:
    """What a run came to. counts: samples by split (or column). shards: of the whole; made: those made now.

    made_anew: of them, those a removal took samples from. problems: shards that were not made; without any,
    finished is the whole, or None where it was whole before.
    """

    plan: Plan
    counts: Mapping[str, int]
    left_out: Mapping[str, int]
    shards: int
    made: int
    made_anew: int = 0
    problems: tuple[str, ...] = ()
    finished: Finished | None = None


def publish(
    dataset: Dataset,
    to: Store,
    asked: Publication,
    readers: Mapping[str, Reader],
    work: Work,
    purge: bool = False,
    limit: Limit | None = None,
) -> Published:
    """Publish the dataset at `to`, or continue where an earlier run ended.

    Nothing is written before every sample was looked at, and `limit` at the names of the files of all shards.
    Raises RequestError, IncompleteError.
    """
    to.sweep()
    if (claim := read_claim(to)) is not None:
        dataset, asked = as_claimed(dataset, asked, to, claim, purge)
    if asked.layout == "columns":
        return _publish_columns(dataset, to, asked, work, limit)
    plan = plan_publish(dataset, asked, to)
    check_weights(plan)
    surveyed = _look(plan, work)
    choice = plan.choose(surveyed)
    if not plan.pictures and claim is None:
        refuse_unfetchable(dataset, surveyed)
    if limit:
        limit([path for t in choice.targets for path in (data_path(t), receipt_path(t), *index_paths(t))])
    plan.begin()
    check_order(plan, choice)
    removals = choose_removals(plan, choice, purge)
    made_anew = discard_stale(plan, removals)
    whole = check_packed(to, choice.targets)
    left = plan.left(choice)
    counts = {split: count - removals.of_split(split) for split, count in choice.counts().items()}
    left_out = Counter(plan.count_left_out(choice))
    left_out.update({"removed": sum(map(len, removals.keys.values()))} if removals.keys else {})
    found = (plan, counts, dict(sorted(left_out.items())), len(choice.targets))
    if whole:
        return Published(*found, 0)
    result = work("pack", plan.pack(choice, removals.by_shard), left, len(choice.targets))
    if result.problems:
        return Published(*found, len(result.made), made_anew, tuple(result.problems))
    finished = finish(plan, choice, removals, surveyed, readers, _measure(plan, work))
    return Published(*found, len(result.made), made_anew, (), finished)


def _publish_columns(
    dataset: Dataset, to: Store, asked: Publication, work: Work, limit: Limit | None
) -> Published:
    plan = plan_publish(dataset, asked, to)
    copy_columns.check_columns(dataset, asked)
    check_weights(plan)
    if limit:
        shards = (path for of in copy_columns.shard_files(plan) for path in (of.receipt, of.tar, *of.others))
        limit([plan.place(path) for path in (*shards, *copy_columns.needed_files(plan))])
    plan.begin()
    whole = copy_columns.check_copied(plan)
    counts = {column: sum(r.samples for r in plan.receipts[column].values()) for column in plan.columns}
    done = {column: {name for name in plan.to.names(column) if name.endswith(".json")} for column in plan.columns}
    left = [s for s in dataset.shards if not all(f"{shard_name(s)}.json" in done[c] for c in plan.columns)]
    found = (plan, counts, dict[str, int](), len(dataset.shards))
    if whole:
        return Published(*found, 0)
    segments = published_segments(plan)
    recipe = published_description(plan, segments[0]).recipe
    stage = copy_columns.CopyColumns(dataset, plan.to, plan.columns, recipe, plan.samples_only)
    result = work("copy", stage, left, len(dataset.shards))
    if result.problems:
        return Published(*found, len(result.made), 0, tuple(result.problems))
    licences = copy_columns.sum_licences(plan, result.made)
    facts = collect_copy_facts(plan, copy_columns.read_members(plan), licences, _measure(plan, work))
    card = render_cards(facts, "columns.md.j2")
    lines = copy_columns.finish_columns(plan, segments, card)
    return Published(*found, len(result.made), 0, (), Finished(lines, ()))


def _measure(plan: Plan, work: Work) -> Yield:
    found = measure_yield(
        plan.dataset, plan.receipts[IMAGES], lambda stage, pieces: work("losses", stage, pieces, len(pieces))
    )
    if found.problems:
        raise IncompleteError(found.problems[0])
    return found


def _look(plan: Plan, work: Work) -> Mapping[int, SurveyResult]:
    shards = list(plan.dataset.shards)
    result = work("look", plan.survey(), shards, len(shards))
    if result.quarantined:
        shard, why = min(result.quarantined.items())
        raise IncompleteError(f"shard {shard:06d} cannot be published: {why}; nothing was written")
    return cast(Mapping[int, SurveyResult], result.made)
