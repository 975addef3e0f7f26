"""ingest scenes | folder: plan a dataset and fill its images column."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import tyro

from jobs.command import EngineOptions, Summary, summarise
from jobs.progress import show_progress
from pipeline.dataset import IMAGES
from pipeline.engine import run
from pipeline.image import Geometry
from pipeline.ingest import Ingest, claim_truths, plan_dataset
from pipeline.sources.base import Source
from pipeline.sources.folder import FolderSource
from pipeline.sources.scenes import ScenesSource


@dataclass(frozen=True)
class IngestOptions:
    """What every ingest needs to know."""

    out: str
    """ROOT of the dataset: a folder or a URL such as s3://bucket/prefix."""
    shard_size: int = 1000
    """Rows per shard."""
    truth: tuple[str, ...] = ()
    """Conditions to write as columns from the source's own exact maps."""
    json: bool = False
    """Print the summary as JSON."""


@dataclass(frozen=True, kw_only=True)
class _Ingest:
    options: IngestOptions
    geometry: Geometry = field(default_factory=Geometry)
    engine: EngineOptions = field(default_factory=EngineOptions)

    @property
    def json(self) -> bool:
        return self.options.json


@dataclass(frozen=True, kw_only=True)
class IngestScenes(_Ingest):
    """Procedural, captioned scenes with exact ground truth (--truth depth seg keypose sketch)."""

    source: ScenesSource = field(default_factory=ScenesSource)

    def run(self) -> Summary:
        return ingest(self.source, self.geometry, self.options, self.engine)


@dataclass(frozen=True, kw_only=True)
class IngestFolder(_Ingest):
    """Pictures below a folder, each with its captions in a .txt file of the same stem, one per line."""

    folder: tyro.conf.Positional[str]
    """Where the pictures are."""

    def run(self) -> Summary:
        return ingest(FolderSource(self.folder), self.geometry, self.options, self.engine)


def ingest(source: Source, geometry: Geometry, options: IngestOptions, engine: EngineOptions) -> Summary:
    """Plan, then make every shard that is not done."""
    dataset = plan_dataset(options.out, source, geometry, options.shard_size)
    dataset.store.sweep()
    truths = claim_truths(dataset, source, options.truth)
    left = dataset.left((IMAGES, *truths))
    with show_progress("ingest", len(left), len(dataset.shards)) as progress:
        outcome = run(Ingest(dataset, source, geometry, truths), left, engine.engine, engine.workers, progress)
    summary = summarise("ingest", outcome, len(dataset.shards))
    if outcome.made and not outcome.samples[IMAGES]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(outcome.drops[IMAGES].items()))
        summary = replace(summary, problems=(*summary.problems, f"no row became a sample ({reasons})"))
    return summary
