"""What the report's stage saw of all samples, added up while shards come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from t2i_shards.pipeline.report.contents import Contents
from t2i_shards.pipeline.report.sample_index import Entry
from t2i_shards.pipeline.report.sample_stats import Counted, Tally
from t2i_shards.pipeline.report.samples import Thumbnail
from t2i_shards.pipeline.report.search_index import Chunk
from t2i_shards.pipeline.report.strips import Beside, write_files
from t2i_shards.pipeline.stages.stage import StageResult


@dataclass
class Gathered:
    """Of a shard that was taken, only its numbers stay, and entries where these go into the page.

    beside: where the files of samples go. entries, chunks, problems: by shard.
    """

    beside: Beside | None = None
    tally: Tally = field(default_factory=Tally)
    licences: Counter[str] = field(default_factory=Counter)
    contents: Contents = field(default_factory=Contents)
    entries: dict[int, Sequence[Entry]] = field(default_factory=dict)
    chunks: dict[int, Sequence[Chunk]] = field(default_factory=dict)
    thumbnails: dict[str, Thumbnail] = field(default_factory=dict)
    problems: dict[int, Sequence[str]] = field(default_factory=dict)

    def take(self, shard: int, made: StageResult | None) -> None:
        """Add what was seen of a shard, and write its files. made: None where it was set aside."""
        if not isinstance(made, Counted):
            return
        if self.beside:
            write_files(self.beside.folder, made.files)
        self.tally.merge(made.tally)
        self.licences.update(made.licences)
        self.contents.add(made.contents)
        self.thumbnails.update(made.thumbnails)
        if made.entries:
            self.entries[shard] = made.entries
        if made.chunks:
            self.chunks[shard] = made.chunks
        if made.problems:
            self.problems[shard] = made.problems

    @property
    def chunks_in_order(self) -> tuple[Chunk, ...]:
        """The side files in the dataset's order."""
        return tuple(chunk for shard in sorted(self.chunks) for chunk in self.chunks[shard])
