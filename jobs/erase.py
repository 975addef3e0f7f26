"""erase: the bytes of removed samples leave the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from t2i_shards.adapters.options import Root
from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.progress import part_of
from t2i_shards.jobs.roll_up import index_names, roll_up
from t2i_shards.jobs.shard_progress import show_progress
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.stages.erase import Erase, begin_erasing, count_later, plan_erase, record_erasure

LEFT = (
    "keys and hashes of paths and addresses stay in plan/, digests and perceptual hashes in images/*.rows.parquet"
)


@dataclass(frozen=True)
class EraseCommand:
    """Erase what was removed: samples become blank in every column, addresses and captions leave the plan.

    This cannot be undone; run it while nothing else writes to the dataset.
    """

    root: Root
    """The dataset."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    dry_run: bool = False
    """Say how much would be erased, and write nothing."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        dataset = Dataset.open(self.root)
        stage = plan_erase(dataset)
        shards = sorted(stage.rows)
        if self.dry_run or not shards:
            return self._summarise(stage, shards, "would be erased; nothing was written")
        dataset.store.sweep()
        begin_erasing(stage)
        engine = self.engine.for_reading(len(shards))
        with part_of("erase", 1, 3), show_progress("shards", len(shards), len(shards)) as progress:
            result = run(stage, shards, engine, self.engine.workers, progress)
        with part_of("erase", 2, 3):
            roll_up(dataset, stage.columns, dict.fromkeys(result.samples, result.made), self.engine)
        with part_of("erase", 3, 3):
            index_names(dataset, dataset.receipts(IMAGES, damaged=[]), self.engine)
        if result.problems:
            return self._summarise(stage, sorted(result.made), "erased; run again for the rest", result.problems)
        done = f"erased; {record_erasure(stage)} says which, and {LEFT}"
        later = count_later(stage)
        return self._summarise(
            stage,
            shards,
            done,
            [f"removed meanwhile: {number_of(later, 'sample')}; run erase again"] if later else (),
        )

    def _summarise(self, stage: Erase, shards: Sequence[int], done: str, problems: Sequence[str] = ()) -> Summary:
        keys = {shard: stage.removed.get(shard, frozenset()) for shard in shards}
        fresh = {shard: of for shard in shards if (of := keys[shard] - stage.before)}
        samples = sum(map(len, fresh.values()))
        already = sum(map(len, keys.values())) - samples
        rows = len({key for shard in shards for key in stage.rows[shard]} - stage.before)
        what = f"{number_of(samples, 'sample')} of {number_of(len(fresh), 'shard')}"
        line = f"erase: {what}, in {', '.join(stage.columns)}, and {number_of(rows, 'row')} of the plan, {done}"
        line += f"; erased before: {number_of(already, 'sample')}" if already else ""
        if stage.rows and not rows and not problems:
            line = f"erase: all that was removed is erased already: {number_of(already, 'sample')}"
        if not stage.rows:
            why = "what was removed is not made yet" if stage.unmade else "no sample was removed"
            line = f"erase: {why}, so there is nothing to erase"
        if stage.unmade:
            unmade = f"removed, but not made yet: {number_of(stage.unmade, 'row')}; run ingest, then erase again"
            problems = [*problems, unmade]
        record = {
            "command": "erase",
            "dry_run": self.dry_run,
            "samples": samples,
            "erased_before": already,
            "shards": len(fresh),
            "rows": rows,
            "columns": list(stage.columns),
        }
        return Summary(line, record, tuple(problems))
