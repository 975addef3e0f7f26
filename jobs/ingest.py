"""ingest scenes | folder | tars | table | coco | laion: plan a dataset and fill its images column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import tyro

from t2i_shards.adapters.options import Unnamed
from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.ingest_flow import After, IngestOptions, ingest, refuse_inside
from t2i_shards.jobs.keep_request import keep_request
from t2i_shards.pipeline.download.shard import MIN_YIELD, Downloads, check_yield
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.marks import Advanced
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.coco.source import CocoSource
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.sources.table.source import TableSource, names_urls_alone
from t2i_shards.pipeline.sources.tars.maps import parse_columns
from t2i_shards.pipeline.sources.tars.samples import MemberChoice
from t2i_shards.pipeline.sources.tars.source import TarsSource


@dataclass(frozen=True, kw_only=True)
class _Ingest(ABC):
    options: Unnamed[IngestOptions]
    geometry: Geometry = field(default_factory=Geometry)
    engine: EngineOptions = field(default_factory=EngineOptions)
    name: ClassVar[str]

    @property
    def json(self) -> bool:
        return self.options.json

    def run(self) -> Summary:
        summary = self.ingest()
        if summary.record["made"]:  # what is done is left as it is, where nothing may be written too
            keep_request(open_store(self.options.out), "", f"ingest {self.name}", self)
        return summary

    @abstractmethod
    def ingest(self) -> Summary:
        """Make what is not there yet."""


@dataclass(frozen=True, kw_only=True)
class IngestScenes(_Ingest):
    """Procedural, captioned scenes with exact ground truth (--truth depth seg keypose sketch)."""

    name = "scenes"

    source: ScenesSource = field(default_factory=ScenesSource)

    def ingest(self) -> Summary:
        return ingest(self.source, self.geometry, self.options, self.engine)


@dataclass(frozen=True, kw_only=True)
class IngestFolder(_Ingest):
    """Pictures below a folder, with captions from text files, its metadata or their names, or without any."""

    name = "folder"

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """Where the pictures are: a folder, or a URL such as s3://bucket/prefix."""
    captions: Literal["files", "filename", "none"] = "files"
    """From files (photo.txt, one caption per line, or metadata.jsonl or metadata.csv with file_name and text),
    from the names of the pictures, or none: then every caption is empty."""
    caption_extension: str = ".txt"
    """The ending of caption files, in upper or lower case; .json for files with a text, caption or captions in
    them."""
    min_yield: Advanced[float] = MIN_YIELD
    """End with exit code 3 when a smaller share of the planned rows than this became samples."""
    retry_failed: bool = False
    """When every shard is done, try the rows again whose picture or caption was missing and is there now."""
    add_new: bool = False
    """When every shard is done, plan the pictures that came into the folder since."""

    def ingest(self) -> Summary:
        check_yield(self.min_yield)
        source = FolderSource(self.folder, captions=self.captions, caption_extension=self.caption_extension)
        after = After(self.retry_failed, self.add_new, self.min_yield, source.folder)
        return ingest(source, self.geometry, self.options, self.engine, after)


@dataclass(frozen=True, kw_only=True)
class IngestTars(_Ingest):
    """WebDataset shards of others, such as img2dataset's output: their pictures, captions and JSON."""

    name = "tars"

    tars: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATTERN")]
    """The tars: a glob in quotes, a folder, or one file, here or at a URL such as hf://datasets/user/name/*.tar."""
    image_member: str | None = None
    """Ending of the member that holds the picture; the first of jpg, jpeg, png and webp when not given."""
    caption_key: str | None = None
    """Key in the json member that holds the caption, or a list of them; txt, caption or text when not given."""
    license_key: str | None = None
    """Key of the picture's licence in the json member, where it has none of the usual names such as license."""
    columns: tuple[str, ...] = ()
    """Conditions whose maps are members too, to become columns: sketch:as-is where lines are white on black,
    sketch:inverted where they are black on white, depth:as-is where near is white; seg."""
    min_yield: Advanced[float] = MIN_YIELD
    """End with exit code 3 when a smaller share of the planned rows than this became samples."""
    retry_failed: bool = False
    """When every shard is done, try the rows again whose tar was missing and is there now."""

    def ingest(self) -> Summary:
        check_yield(self.min_yield)
        refuse_inside(self.options.out, self.tars)
        source = TarsSource(
            self.tars,
            MemberChoice(self.image_member, self.caption_key, self.license_key),
            columns=parse_columns(self.columns),
        )
        after = After(self.retry_failed, min_yield=self.min_yield, where=source.pattern)
        options = replace(self.options, truth=(*self.options.truth, *source.truths()))
        return ingest(source, self.geometry, options, self.engine, after)


@dataclass(frozen=True, kw_only=True)
class IngestTable(_Ingest):
    """A table of captions with pictures, their paths or URLs: parquet as `datasets` writes it, CSV, TSV, JSONL."""

    name = "table"

    table: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATTERN")]
    """The tables: a glob in quotes, a folder, or one file, here or at a URL such as hf://datasets/user/name."""
    image_column: str | None = None
    """Column of the pictures, as bytes, as {bytes, path}, or as paths that count from the table's folder."""
    caption_column: str | None = None
    """Column of the captions: texts, or lists of texts."""
    license_column: str | None = None
    """Column of the pictures' licences, where it has none of the usual names such as license."""
    url_column: str | None = None
    """Column of the URLs, from which the pictures are downloaded as by `ingest laion`."""
    downloads: Downloads = field(default_factory=Downloads)
    retry_failed: bool = False
    """When every shard is done, try the rows again whose picture was missing and is there now, or whose download
    failed in a way that may pass."""

    def ingest(self) -> Summary:
        refuse_inside(self.options.out, self.table)
        after = After(self.retry_failed, min_yield=self.downloads.min_yield)
        if self.url_column is None and not (self.image_column is None and names_urls_alone(self.table)):
            source = TableSource(self.table, self.image_column, self.caption_column, self.license_column)
            rule = "paths count from the folder of their table and may not lead out of it"
            after = replace(after, where=f"{source.pattern}; {rule}")
            return ingest(source, self.geometry, self.options, self.engine, after)
        urls = LaionSource(
            self.table,
            downloads=self.downloads,
            url_column=self.url_column,
            caption_column=self.caption_column,
            license_column=self.license_column,
        )
        return ingest(urls, self.geometry, self.options, self.engine, after)


@dataclass(frozen=True, kw_only=True)
class IngestCoco(_Ingest):
    """COCO 2017 in the official layout, with its annotations as exact columns (--truth seg keypose)."""

    name = "coco"

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

    def ingest(self) -> Summary:
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

    name = "laion"

    source: LaionSource
    retry_failed: bool = False
    """When every shard is done, try the rows again that failed in a way that may pass, in supplementary shards."""

    def ingest(self) -> Summary:
        after = After(self.retry_failed, min_yield=self.source.downloads.min_yield)
        return ingest(self.source, self.geometry, self.options, self.engine, after)
