"""Rows of LAION's metadata: those that pass the filters, or a fixed number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.download.shard import Downloads
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.decode import WEB_FORMATS
from t2i_shards.pipeline.marks import Common
from t2i_shards.pipeline.shards.drafts import PlanDrafts
from t2i_shards.pipeline.sources.base import Opener, Original, Part, Seen, Source, passing, unseen
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.metadata import (
    MetadataFile,
    digest_metadata,
    find_metadata,
    make_rows,
    select,
)
from t2i_shards.pipeline.sources.laion.parts import (
    MetadataPart,
    count_digits,
    count_reasons,
    count_rows,
    name_columns,
)
from t2i_shards.pipeline.sources.laion.sampling import BucketCounts, Cut, buckets_of
from t2i_shards.pipeline.sources.licence import LICENCE
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tables.find import Columns

NOT_SAMPLED = "not sampled"


@dataclass(frozen=True)
class LaionSource(Source):
    """Pictures of the web by URL and caption, from tables with the columns of LAION and its kin."""

    metadata: Common[str]
    """Tables (parquet, CSV, TSV, JSONL): a folder or a glob in quotes, local or a URL like s3://bucket/*.parquet."""
    filters: Filters = field(default_factory=Filters)
    samples: Common[int | None] = None
    """Take this many of the rows that pass, evenly from all files; all of them when not given."""
    seed: int = 0
    """Which sample; a smaller one of the same seed lies within a larger one."""
    downloads: Downloads = field(default_factory=Downloads)
    url_column: str | None = None
    """Column of the URLs, where it has none of the usual names."""
    caption_column: str | None = None
    """Column of the captions, texts or lists of texts, where it has none of the usual names."""
    license_column: str | None = None
    """Column of the pictures' licences, where it has none of the usual names such as license."""

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise RequestError(f"--samples must be at least 1, not {self.samples}")

    @property
    def repeatable(self) -> bool:
        return False

    @property
    def resources(self) -> Resources:
        return self.downloads.resources

    @property
    def _given(self) -> dict[str, str | None]:
        return {"url": self.url_column, "caption": self.caption_column, LICENCE: self.license_column}

    @cached_property
    def _files(self) -> list[MetadataFile]:
        return find_metadata(self.metadata, self.filters, self._given)

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "laion",
            **{f"{name}_column": theirs for name, theirs in self._given.items() if theirs is not None},
            **asdict(self.filters),
            "language": list(self.filters.language),
            "samples": self.samples,
            "seed": self.seed,
            "metadata_files": len(self._files),
            "metadata_rows": count_rows(self._files),
            "metadata_sha256": digest_metadata(self._files),
        }

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        """Key: the row's position in the metadata, counted through all files in the order of their names.

        Left out are the rows that `filters` names, and with `samples` those that were "not sampled".
        """
        if self.samples is not None:
            cut = self._find_cut(self._files, self.samples, left_out, seen)
            yield from self._sampled(self._files, cut, left_out)
            return
        for part in self._divide(self._files):
            yield from part.rows(left_out, seen)

    def parts(self, drafts: PlanDrafts) -> Sequence[Part]:
        """The tables. A sample is one of all rows, and has none."""
        return self._divide(self._files) if self.samples is None else ()

    def _divide(self, files: Sequence[MetadataFile]) -> list[MetadataPart]:
        digits, names = count_digits(files), name_columns(files)
        return [MetadataPart(file, self.filters, digits, names) for file in files]

    def again(self, failed: Iterable[tuple[Row, str]]) -> Iterator[Row]:
        return passing(failed)

    def setup(self) -> None:
        self.downloads.setup()

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        with self.downloads.fetch([row.location for row in rows], scratch) as fetched:
            yield lambda row: Original(
                content=fetched[row.location],
                captions=row.captions,
                info={name: value for name, value in row.extra.items() if value is not None},
                formats=WEB_FORMATS,
                http=200,
            )

    def _find_cut(self, files: Sequence[MetadataFile], samples: int, left_out: Counter[str], seen: Seen) -> Cut:
        tally = BucketCounts()
        for file in files:
            for start, columns in file.read():
                verdict = self.filters.judge(columns)
                count_reasons(verdict, left_out)
                tally.add(buckets_of(self.seed, start, len(verdict))[verdict < 0])
                seen(len(verdict))
        if tally.rows > samples:
            left_out[NOT_SAMPLED] += tally.rows - samples
        return tally.cut(samples)

    def _sampled(self, files: Sequence[MetadataFile], cut: Cut, notes: Counter[str]) -> Iterator[Row]:
        digits, names = count_digits(files), name_columns(files)
        for file in files:
            for start, columns in file.read():
                chosen = self._choose(start, columns, cut)
                yield from make_rows(select(columns, chosen), chosen + start, digits, names, notes)

    def _choose(self, start: int, columns: Columns, cut: Cut) -> np.ndarray:
        """Which rows of a batch are sampled. Few have a chance, and only those are judged."""
        buckets = buckets_of(self.seed, start, len(columns["url"]))
        eligible = np.flatnonzero(buckets <= cut.bucket)
        passing: np.ndarray = eligible[self.filters.judge(select(columns, eligible)) < 0]
        taken: np.ndarray = passing[cut.take(buckets[passing])]
        return taken
