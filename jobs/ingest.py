"""ingest scenes | folder: plan a dataset and fill its images column."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import tyro

from jobs.command import EngineOptions, Summary, summarise
from jobs.progress import show_progress
from pipeline.commit import load_receipt
from pipeline.dataset import IMAGES, Dataset
from pipeline.engine import run
from pipeline.errors import RequestError
from pipeline.image import Geometry
from pipeline.ingest import Ingest, check_truths, claim_truths, plan_dataset
from pipeline.sources.base import Source
from pipeline.sources.folder import FolderSource
from pipeline.sources.scenes import ScenesSource
from pipeline.verify import verify_plan


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
    check_truths(source, options.truth)
    dataset = plan_dataset(options.out, source, geometry, options.shard_size)
    dataset.store.sweep()
    truths = claim_truths(dataset, source, options.truth)
    left = dataset.left((IMAGES, *truths))
    if left and (damaged := verify_plan(dataset)):
        raise RequestError(f"{options.out}: {damaged[0]}; make the dataset anew in another --out")
    with show_progress("ingest", len(left), len(dataset.shards)) as progress:
        outcome = run(Ingest(dataset, source, geometry, truths), left, engine.engine, engine.workers, progress)
    summary = summarise("ingest", outcome, len(dataset.shards))
    done = sorted(dataset.done(IMAGES))
    if len(done) == len(dataset.shards) and not any(_has_samples(dataset, shard) for shard in done):
        summary = replace(
            summary, problems=(*summary.problems, "no row became a sample; status names the reasons")
        )
    return summary


def _has_samples(dataset: Dataset, shard: int) -> bool:
    receipt = load_receipt(dataset.store, IMAGES, shard)
    return receipt is not None and receipt.samples > 0
