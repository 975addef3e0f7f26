"""The samples of a dataset that a page can search: in the page itself, or all of them in files next to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from t2i_shards.pipeline.dataset.losses import Loss
from t2i_shards.pipeline.report.contents import Contents
from t2i_shards.pipeline.report.sample_index import LONGEST, Entry
from t2i_shards.pipeline.report.strips import LONGEST_KEY

MOST_SAMPLES = 100_000
MOST_CHARACTERS = 24_000_000
"""A page holds no more samples, and no more of their captions; that text is most of its size."""
MOST_BESIDE_STRIPS = MOST_CHARACTERS // (LONGEST + LONGEST_KEY)
"""A page with strips holds no more samples, for it shows all of them; more are in files next to it."""
SIDE_FILE = 2000
"""Samples to such a file: at 300 bytes each it is read in some milliseconds."""
MOST_LOST = 10_000
"""Dropped files that a page names."""

Chunk = tuple[str, int]
"""(path of a side file below `strips`, without its ending; samples in it)"""


@dataclass(frozen=True)
class SearchIndex:
    """The samples in the dataset's order. of: samples there are. contents: of those that can be searched.

    entries: those in the page. chunks: the side files that hold all samples in their place; then there are no
    entries. lost: planned rows that became no sample, at most MOST_LOST of `lost_of`. strips: the folder of the
    strips and side files, as the page finds it; "" where there are none.
    """

    of: int
    entries: tuple[Entry, ...] = ()
    contents: Contents = field(default_factory=Contents)
    chunks: tuple[Chunk, ...] = ()
    lost: tuple[Loss, ...] = ()
    lost_of: int = 0
    strips: str = ""


def choose_limit(samples: int) -> int:
    """The rank below which a worker hands on MOST_SAMPLES of the samples, about."""
    return 2**64 if samples <= MOST_SAMPLES else 2**64 * MOST_SAMPLES // samples


def choose_entries(by_shard: Mapping[int, Sequence[Entry]], shown: Iterable[str]) -> tuple[Entry, ...]:
    """As many of them as a page may hold, those of the samples that it shows before all others."""
    found = [entry for shard in sorted(by_shard) for entry in by_shard[shard]]
    first = set(shown)
    kept, characters = set[int](), 0
    for index in sorted(range(len(found)), key=lambda i: (found[i].key not in first, found[i].rank)):
        characters += len(found[index].text) + len(found[index].key)
        if len(kept) == MOST_SAMPLES or characters > MOST_CHARACTERS:
            break
        kept.add(index)
    return tuple(found[index] for index in sorted(kept))
