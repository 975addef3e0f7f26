"""What an ingest ends with: the counts of its plan, the yield and, once every shard is done, the duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.progress import part_of, show_waiting
from t2i_shards.jobs.shard_progress import show_progress
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.duplicates import mark_duplicates
from t2i_shards.pipeline.dataset.left_out import read_left_out, read_notes
from t2i_shards.pipeline.dataset.losses import yield_table
from t2i_shards.pipeline.engine import RunResult, run
from t2i_shards.pipeline.plain import list_counts, number_of
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.stages.count_losses import measure_yield
from t2i_shards.pipeline.stages.stage import Stage

STAGES = {
    name: number for number, name in enumerate(("plan", "pictures", "roll-ups", "names", "yield", "duplicates"), 1)
}


def number_stage(name: str) -> AbstractContextManager[None]:
    """Number what is shown in the block: "ingest 2 of 6, "."""
    return part_of("ingest", STAGES[name], len(STAGES))


@dataclass(frozen=True)
class Filled:
    """A dataset after every shard that was left was tried. images: the receipts that are sound."""

    dataset: Dataset
    images: ReceiptTable
    summary: Summary

    @property
    def whole(self) -> bool:
        """Whether all of images is done."""
        return self.images.keys() >= set(self.dataset.shards)


def add_counts(dataset: Dataset, summary: Summary) -> Summary:
    """Add what the plan leaves out, and what was changed in its rows."""
    left_out, notes = read_left_out(dataset.store), read_notes(dataset.store)
    line = summary.line + (f"; left out of the plan: {list_counts(left_out)}" if left_out else "")
    line += f"; {list_counts(notes)}" if notes else ""
    return replace(summary, line=line, record={**summary.record, "left_out": left_out, "notes": notes})


def add_duplicates(filled: Filled, summary: Summary, near: int | None) -> Summary:
    """Mark the duplicates of a whole images column, and warn of an empty one."""
    if not filled.images.numbers("samples").any():
        nothing = "no row became a sample; status names the reasons"
        return replace(summary, problems=(*summary.problems, nothing))
    with number_stage("duplicates"), show_waiting("duplicates"):
        kinds = Counter(mark_duplicates(filled.dataset, near)["kind"].to_pylist())
    found = ", ".join(number_of(count, f"{kind} duplicate") for kind, count in sorted(kinds.items()))
    return replace(
        summary,
        line=f"{summary.line}; {found}" if found else summary.line,
        record={**summary.record, "duplicates": dict(kinds)},
    )


def add_yield(filled: Filled, summary: Summary, least: float, where: str, engine: EngineOptions) -> Summary:
    """Add the yield of a complete images column; below min_yield it is a problem, with the reasons in a
    table."""

    def work(stage: Stage, pieces: Sequence[int]) -> RunResult:
        with number_stage("yield"), show_progress("yield", len(pieces), len(pieces)) as progress:
            return run(stage, pieces, engine.engine, engine.workers, progress)

    found = measure_yield(filled.dataset, filled.images, work)
    summary = replace(
        summary,
        problems=(*summary.problems, *found.problems),
        line=f"{summary.line}; yield {found.share:.1%} of {number_of(found.planned, 'row')}",
        record={**summary.record, "yield": found.share, "reasons": dict(found.reasons)},
    )
    if found.share >= least:
        return summary
    gate = (
        f"yield: {found.samples} of {number_of(found.planned, 'row')} became samples, "
        f"{found.share:.1%} is under --min-yield {least}" + (f"; they were looked for in {where}" if where else "")
    )
    table = yield_table(measure_yield(filled.dataset, filled.images, work, hosts=True))
    return replace(summary, problems=(*summary.problems, gate, *table))
