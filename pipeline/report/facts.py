"""The facts of one dataset, as the page and the picture show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.provenance import Provenance
from t2i_shards.pipeline.dataset.status import ColumnStatus
from t2i_shards.pipeline.report.contents import LISTED
from t2i_shards.pipeline.report.sample_index import shorten_location
from t2i_shards.pipeline.report.sample_stats import Tally
from t2i_shards.pipeline.report.samples import Duplicates, SheetRow
from t2i_shards.pipeline.report.search_index import SearchIndex

Hosts = tuple[tuple[str, Counter[str]], ...]
"""(host, its reasons -> rows), the host that lost most first."""


@dataclass(frozen=True)
class ColumnFacts:
    """One column: how much of it there is, and who made it."""

    status: ColumnStatus
    provenance: Provenance

    @property
    def rate(self) -> float | None:
        """Samples per second of one worker; None for a column that was made along with the pictures."""
        return self.status.samples / self.status.seconds if self.status.seconds else None


@dataclass(frozen=True)
class DatasetFacts:
    """One dataset. digest: of all its columns so far. problems: a line for each damaged shard or receipt.

    unplanned: rows that the source left out on purpose, (reason, rows). tally: counts over all samples that are
    there and not removed; None when only receipts were read. hosts: of a download, those that lost most.
    duplicates: None when they were not marked. left_out: what a publication of all conditions would leave out,
    (reason, samples), duplicates if it is asked to. licences: of the pictures that it would hold, (name, samples);
    empty when only receipts were read.
    """

    root: str
    title: str
    source: str
    geometry: str
    planned: int
    shards: int
    digest: str
    columns: tuple[ColumnFacts, ...]
    rows: tuple[SheetRow, ...]
    problems: tuple[str, ...]
    index: SearchIndex
    unplanned: tuple[tuple[str, int], ...] = ()
    tally: Tally | None = None
    hosts: Hosts = ()
    duplicates: Duplicates | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    licences: tuple[tuple[str, int], ...] = ()

    @property
    def samples(self) -> int:
        """With those that were removed, as a publication's losses are counted of them."""
        return self.columns[0].status.samples

    @property
    def there(self) -> int:
        """Samples without those that were removed."""
        return self.index.of

    @property
    def drops(self) -> list[tuple[str, str, int, int]]:
        """(column, reason, count, of how many), the most frequent reason of a column first."""
        return [
            (c.status.column, reason, count, c.status.samples + sum(c.status.drops.values()))
            for c in self.columns
            for reason, count in sorted(c.status.drops.items(), key=lambda item: (-item[1], item[0]))
        ]

    @property
    def lost_files(self) -> list[tuple[str, str, str, str]]:
        """(column, file, reason, key) of the first LISTED: rows that became no sample, then samples that a column
        lacks."""
        rows = [
            (IMAGES, shorten_location(loss.location), loss.reason, loss.key) for loss in self.index.lost[:LISTED]
        ]
        return [*rows, *(lacking[2:] for lacking in self.index.contents.lacking)][:LISTED]

    @property
    def lost_of(self) -> int:
        """How many files were lost or dropped from a column in all, as far as the page knows of them."""
        return self.index.lost_of + self.index.contents.drops.total()

    @property
    def stages(self) -> list[ColumnFacts]:
        """The columns that took time of their own."""
        return [column for column in self.columns if column.rate]

    @property
    def bottleneck(self) -> ColumnFacts | None:
        """The stage that takes a worker longest for a sample; None where there are not two to compare."""
        return find_bottleneck(self.stages)


def find_bottleneck(stages: Sequence[ColumnFacts]) -> ColumnFacts | None:
    """The one with the most worker seconds per sample, the first of equals."""
    return max(stages, key=lambda column: 1 / (column.rate or 1), default=None) if len(stages) > 1 else None
