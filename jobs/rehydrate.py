"""rehydrate: fetch the pictures of a publication that has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.readers import NAMES, choose_readers
from t2i_shards.jobs.shard_progress import show_progress
from t2i_shards.pipeline.download.shard import Downloads
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.plain import list_counts, number_of
from t2i_shards.pipeline.publish.rehydrate import find_left, finish_rehydrated, plan_rehydrate
from t2i_shards.pipeline.shards.store import open_store


@dataclass(frozen=True)
class RehydrateCommand:
    """Fetch the pictures again, check their digests, and restore the full dataset for your own use."""

    published: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PUBLISHED")]
    """A publication without pictures: a folder or a URL."""
    out: Annotated[str, tyro.conf.arg(aliases=["--output-dir"])]
    """Where the full dataset goes: a folder or a URL."""
    downloads: Downloads = field(default_factory=Downloads)
    readers: tuple[str, ...] = NAMES
    """Which readers read it back, besides our own stream."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        readers = choose_readers(self.readers)
        to = open_store(self.out)
        to.sweep()
        stage = plan_rehydrate(open_store(self.published), to, self.downloads)
        left = find_left(stage)
        planned = sum(line.samples for line in stage.lines)
        with show_progress("rehydrate", len(left), len(stage.lines), planned=planned) as progress:
            result = run(stage, left, self.engine.engine, self.engine.workers, progress, keep=False)
        if result.problems:
            line = f"rehydrate: {len(result.made)} of {number_of(len(left), 'shard')} made; run again to continue"
            return Summary(line, {"command": "rehydrate"}, tuple(result.problems))
        finished = finish_rehydrated(stage, readers)
        samples = sum(line.samples for line in finished.lines)
        found = f"pictures of {samples} of {number_of(planned, 'sample')}"
        line = f"rehydrate: {found}; left out: {list_counts(finished.drops) or 'none'}; {self.out}"
        record = {"command": "rehydrate", "samples": samples, "planned": planned, "drops": dict(finished.drops)}
        few = samples < self.downloads.min_yield * planned
        rule = f"--min-yield {self.downloads.min_yield}: only {found} were obtained"
        return Summary(line, record, (rule,) if few else ())
