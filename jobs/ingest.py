"""ingest scenes | folder | tars | table | coco | laion: plan a dataset and fill its images column."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import tyro

from t2i_shards.jobs.command import EngineOptions, Summary, list_counts, summarise
from t2i_shards.jobs.progress import show_planning, show_progress
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.download_commit import sweep_drafts
from t2i_shards.pipeline.dataset.download_yield import measure_yield, yield_table
from t2i_shards.pipeline.dataset.duplicates import mark_duplicates
from t2i_shards.pipeline.dataset.plan import read_left_out, read_notes
from t2i_shards.pipeline.dataset.supplement import plan_new, plan_retry
from t2i_shards.pipeline.download.shard import MIN_YIELD, Downloads, check_yield
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.base import Source
from t2i_shards.pipeline.sources.coco.source import CocoSource
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.inside import lies_inside
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.sources.table.source import TableSource, names_urls_alone
from t2i_shards.pipeline.sources.tars.maps import parse_columns
from t2i_shards.pipeline.sources.tars.samples import Choice
from t2i_shards.pipeline.sources.tars.source import TarsSource
from t2i_shards.pipeline.stages.ingest import Ingest, check_truths, claim_truths, plan_dataset
from t2i_shards.pipeline.stages.verify import verify_plan


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
    """Pictures below a folder, with captions from text files, its metadata or their names, or without any."""

    folder: tyro.conf.Positional[str]
    """Where the pictures are: a folder, or a URL such as s3://bucket/prefix."""
    captions: Literal["files", "filename", "none"] = "files"
    """From files (photo.txt, one caption per line, or metadata.jsonl or metadata.csv with file_name and text),
    from the names of the pictures, or none: then every caption is empty."""
    caption_extension: str = ".txt"
    """The ending of caption files, in any capitals; .json for files with a text, caption or captions in them."""
    min_yield: float = MIN_YIELD
    """The job ends with 3 when a smaller share of the planned rows than this became samples."""
    retry_failed: bool = False
    """When every shard is done, try the rows again whose picture or caption was missing and is there now."""
    add_new: bool = False
    """When every shard is done, plan the pictures that came into the folder since."""

    def run(self) -> Summary:
        check_yield(self.min_yield)
        source = FolderSource(self.folder, captions=self.captions, caption_extension=self.caption_extension)
        after = After(self.retry_failed, self.add_new, self.min_yield, source.folder)
        return ingest(source, self.geometry, self.options, self.engine, after)


@dataclass(frozen=True, kw_only=True)
class IngestTars(_Ingest):
    """WebDataset shards of others, such as img2dataset's output: their pictures, captions and JSON."""

    tars: tyro.conf.Positional[str]
    """The tars: a glob in quotes, a folder, or one file, here or at a URL such as hf://datasets/user/name/*.tar."""
    image_member: str | None = None
    """Ending of the member that holds the picture; the first of jpg, jpeg, png and webp when not given."""
    caption_key: str | None = None
    """Key in the json member that holds the caption, or a list of them; txt, caption or text when not given."""
    columns: tuple[str, ...] = ()
    """Conditions whose maps are members too, to become columns: sketch:as-is where lines are white on black,
    sketch:inverted where they are black on white, depth:as-is where near is white; seg."""
    min_yield: float = MIN_YIELD
    """The job ends with 3 when a smaller share of the planned rows than this became samples."""
    retry_failed: bool = False
    """When every shard is done, try the rows again whose tar was missing and is there now."""

    def run(self) -> Summary:
        check_yield(self.min_yield)
        refuse_inside(self.options.out, self.tars)
        source = TarsSource(
            self.tars, Choice(self.image_member, self.caption_key), columns=parse_columns(self.columns)
        )
        after = After(self.retry_failed, min_yield=self.min_yield, where=source.pattern)
        options = replace(self.options, truth=(*self.options.truth, *source.truths()))
        return ingest(source, self.geometry, options, self.engine, after)


@dataclass(frozen=True, kw_only=True)
class IngestTable(_Ingest):
    """A table of captions with pictures, their paths or URLs: parquet as `datasets` writes it, CSV, TSV, JSONL."""

    table: tyro.conf.Positional[str]
    """The tables: a glob in quotes, a folder, or one file, here or at a URL such as hf://datasets/user/name."""
    image_column: str | None = None
    """Column of the pictures, as bytes, as {bytes, path}, or as paths that count from the table's folder."""
    caption_column: str | None = None
    """Column of the captions: texts, or lists of texts."""
    url_column: str | None = None
    """Column of the URLs, from which the pictures are downloaded as by `ingest laion`."""
    downloads: Downloads = field(default_factory=Downloads)
    retry_failed: bool = False
    """When every shard is done, try the rows again whose picture was missing and is there now, or whose download
    failed in a way that may pass."""

    def run(self) -> Summary:
        refuse_inside(self.options.out, self.table)
        after = After(self.retry_failed, min_yield=self.downloads.min_yield)
        if self.url_column is None and not (self.image_column is None and names_urls_alone(self.table)):
            source = TableSource(self.table, self.image_column, self.caption_column)
            after = replace(after, where=source.pattern)
            return ingest(source, self.geometry, self.options, self.engine, after)
        urls = LaionSource(
            self.table,
            downloads=self.downloads,
            url_column=self.url_column,
            caption_column=self.caption_column,
        )
        return ingest(urls, self.geometry, self.options, self.engine, after)


@dataclass(frozen=True, kw_only=True)
class IngestCoco(_Ingest):
    """COCO 2017 in the official layout, with its annotations as exact columns (--truth seg keypose)."""

    coco: str
    """The folder that holds COCO: annotations/, and the pictures as train2017/ or train2017.zip."""
    split: str = "train2017"
    """Which pictures: train2017 or val2017."""
    licenses: tuple[int, ...] = ()
    """Take only pictures under these of COCO's licence ids; all of them when not given."""
    download: bool = False
    """Fetch the pictures by their coco_url, and do not look for them in the folder."""
    downloads: Downloads = field(default_factory=Downloads)
    retry_failed: bool = False
    """When every shard is done, try the rows again that were missing and are there now, or whose download failed
    in a way that may pass."""

    def run(self) -> Summary:
        source = CocoSource(
            self.coco,
            self.split,
            self.licenses,
            self.downloads if self.download else None,
            asked=self.options.truth,
        )
        where = "" if self.download else source.coco
        after = After(self.retry_failed, min_yield=self.downloads.min_yield, where=where)
        return ingest(source, self.geometry, self.options, self.engine, after)


@dataclass(frozen=True, kw_only=True)
class IngestLaion(_Ingest):
    """Pictures of the web by URL and caption, from the metadata of LAION-Aesthetics and its kin."""

    source: LaionSource
    retry_failed: bool = False
    """When every shard is done, try the rows again that failed in a way that may pass, in supplementary shards."""

    def run(self) -> Summary:
        after = After(self.retry_failed, min_yield=self.source.downloads.min_yield)
        return ingest(self.source, self.geometry, self.options, self.engine, after)


@dataclass(frozen=True)
class After:
    """What follows when every shard is done. min_yield: None where none is asked for. where: it was looked."""

    retry_failed: bool = False
    add_new: bool = False
    min_yield: float | None = None
    where: str = ""


def refuse_inside(out: str, read: str) -> None:
    """RequestError where the dataset would be in the folder whose files are read, and become some of them."""
    if Path(read).is_dir() and lies_inside(out, read):
        raise RequestError(f"--out must be outside of the folder that is read, {read}, not at {out}")


def ingest(
    source: Source, geometry: Geometry, options: IngestOptions, engine: EngineOptions, after: After = After()
) -> Summary:
    """Plan, then make every shard that is not done; when all are, do what follows and mark the duplicates."""
    dataset, summary = _fill(source, geometry, options, engine)
    if after.add_new and not summary.problems and _plan_new(dataset, source):
        dataset, summary = _fill(source, geometry, options, engine)
    if after.retry_failed and not summary.problems and plan_retry(dataset, source.again):
        dataset, summary = _fill(source, geometry, options, engine)
    if after.min_yield is not None:
        summary = _gate(dataset, summary, after.min_yield, after.where)
    return _finish(dataset, summary)


def _plan_new(dataset: Dataset, source: Source) -> bool:
    with show_planning() as seen:
        return plan_new(dataset, source, seen) is not None


def _fill(
    source: Source, geometry: Geometry, options: IngestOptions, engine: EngineOptions
) -> tuple[Dataset, Summary]:
    check_truths(source, options.truth)
    with show_planning() as seen:
        dataset = plan_dataset(options.out, source, geometry, options.shard_size, seen)
    dataset.store.sweep()
    truths = claim_truths(dataset, source, options.truth)
    left = dataset.left((IMAGES, *truths))
    if left and (damaged := verify_plan(dataset)):
        raise RequestError(f"{options.out}: {damaged[0]}; make the dataset again in another --out")
    with show_progress("ingest", len(left), len(dataset.shards)) as progress:
        result = run(Ingest(dataset, source, truths), left, engine.engine, engine.workers, progress)
    sweep_drafts(dataset.store, dataset.done(IMAGES))
    return dataset, summarise("ingest", result, len(dataset.shards))


def _finish(dataset: Dataset, summary: Summary) -> Summary:
    """Say what was left out, mark the duplicates of a complete images column, and warn of an empty one."""
    left_out, notes = read_left_out(dataset.store), read_notes(dataset.store)
    line = summary.line + (f"; left out of the plan: {list_counts(left_out)}" if left_out else "")
    line += f"; {list_counts(notes)}" if notes else ""
    summary = replace(summary, line=line, record={**summary.record, "left_out": left_out, "notes": notes})
    images = dataset.receipts(IMAGES)
    if len(images) < len(dataset.shards):
        return summary
    if not any(receipt.samples for receipt in images.values()):
        nothing = "no row became a sample; status names the reasons"
        return replace(summary, problems=(*summary.problems, nothing))
    kinds = Counter(mark_duplicates(dataset)["kind"].to_pylist())
    told = ", ".join(f"{count} {kind} duplicates" for kind, count in sorted(kinds.items()))
    return replace(
        summary,
        line=f"{summary.line}; {told}" if told else summary.line,
        record={**summary.record, "duplicates": dict(kinds)},
    )


def _gate(dataset: Dataset, summary: Summary, least: float, where: str) -> Summary:
    """Tell the yield of a whole images column; one under the gate is a problem, with a table of the reasons."""
    if dataset.left((IMAGES,)):
        return summary
    found = measure_yield(dataset)
    summary = replace(
        summary,
        line=f"{summary.line}; yield {found.share:.1%} of {found.planned} rows",
        record={**summary.record, "yield": found.share, "reasons": dict(found.reasons)},
    )
    if found.share >= least:
        return summary
    gate = (
        f"yield: {found.samples} of {found.planned} rows became samples, "
        f"{found.share:.1%} is under --min-yield {least}" + (f"; they were looked for in {where}" if where else "")
    )
    return replace(summary, problems=(*summary.problems, gate, *yield_table(found)))
