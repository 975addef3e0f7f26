"""What a page knows of samples beyond the pictures it shows, to search, filter and sort them.

All samples of a dataset are in it, or a uniform sample of them that is always the same.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.losses import Loss
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.plain import hide_secrets
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import SampleInfo, read_info

MOST_SAMPLES = 100_000
MOST_CHARACTERS = 24_000_000
"""A page holds no more samples, and no more of their captions; that text is most of its size."""
LONGEST = 1000
"""Characters of a sample's captions that can be searched."""
MOST_LOST = 10_000
"""Dropped files that a page names."""
SCORE = "aesthetic"
_TAR = re.compile(r".*/(?=[^/]+\.(?:tar|tgz|tar\.gz)/)")

Place = tuple[str, str]
"""(name of what was measured, column)"""


@dataclass(frozen=True)
class Entry:
    """One sample. text: its captions, a line each. rank: 0 to 2**64, by the key alone; the lowest are kept.

    name: of the original's file, or its URL; "" where the source has none. size: width and height of the stored
    picture. numbers: place -> number; classes: place -> the classes shown, the largest first. drops: the columns
    that lack it, with the reason. strip: the shard under whose number its strip is; None where there is none.
    notes: the columns without a picture in the strip, and why.
    """

    key: str
    text: str
    rank: int
    cut: bool = False
    name: str = ""
    size: tuple[int, int] = (1, 1)
    numbers: Mapping[Place, float] = field(default_factory=dict)
    classes: Mapping[Place, Sequence[int]] = field(default_factory=dict)
    drops: Mapping[str, str] = field(default_factory=dict)
    strip: int | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchIndex:
    """The samples in the dataset's order. of: samples there are. cut: those whose text was too long.

    lost: planned rows that became no sample, at most MOST_LOST of `lost_of`. strips: the folder of the strips, as
    the page finds it; "" where there are none.
    """

    entries: tuple[Entry, ...]
    of: int
    cut: int
    lost: tuple[Loss, ...] = ()
    lost_of: int = 0
    strips: str = ""

    @property
    def pictured(self) -> int:
        """Samples that have a strip."""
        return sum(entry.strip is not None for entry in self.entries)

    @property
    def number_places(self) -> list[Place]:
        """What can be sorted by, in the order in which it first occurs."""
        return list(dict.fromkeys(place for entry in self.entries for place in entry.numbers))

    @property
    def class_places(self) -> list[Place]:
        """The label maps."""
        return list(dict.fromkeys(place for entry in self.entries for place in entry.classes))

    @property
    def classes(self) -> Counter[tuple[Place, int]]:
        """(place, class) -> samples that show it."""
        return Counter((p, number) for e in self.entries for p, shown in e.classes.items() for number in shown)

    @property
    def drops(self) -> Counter[tuple[str, str]]:
        """(column, reason) -> samples that lack it."""
        return Counter(drop for entry in self.entries for drop in entry.drops.items())


def choose_limit(samples: int) -> int:
    """The rank below which a worker hands on MOST_SAMPLES of the samples, about."""
    return 2**64 if samples <= MOST_SAMPLES else 2**64 * MOST_SAMPLES // samples


def read_entry(sample: Sample) -> Entry:
    """What a sample of images says of itself: of its json, or where that cannot be read the caption of its txt."""
    try:
        info = read_info(sample)
    except DamagedShard:
        text = bytes(sample.members["txt"]).decode("utf-8", "replace")
        return _make_entry(sample.key, text)
    score = read_score(info)
    return replace(
        _make_entry(sample.key, "\n".join(info.captions)),
        name=shorten_location(info.location),
        size=(info.width, info.height),
        numbers={} if score is None else {(SCORE, IMAGES): round(score, 3)},
    )


def read_score(info: SampleInfo) -> float | None:
    """The aesthetic score of a picture, where its source has one."""
    score = info.source.get(SCORE)
    return score if isinstance(score, int | float) and math.isfinite(score) else None


def _make_entry(key: str, text: str) -> Entry:
    return Entry(key, text[:LONGEST], rank(key), len(text) > LONGEST)


def rank(key: str) -> int:
    """0 to 2**64, as good as drawn by lot."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())


def choose_entries(by_shard: Mapping[int, Sequence[Entry]], shown: Iterable[str], of: int) -> SearchIndex:
    """As many of them as a page may hold, those of the samples that it shows before all others."""
    found = [entry for shard in sorted(by_shard) for entry in by_shard[shard]]
    first = set(shown)
    kept, characters = set[int](), 0
    for index in sorted(range(len(found)), key=lambda i: (found[i].key not in first, found[i].rank)):
        characters += len(found[index].text) + len(found[index].key)
        if len(kept) == MOST_SAMPLES or characters > MOST_CHARACTERS:
            break
        kept.add(index)
    entries = tuple(found[index] for index in sorted(kept))
    return SearchIndex(entries, of, sum(entry.cut for entry in entries))


def shorten_location(location: str) -> str:
    """A URL without its query and secrets, a path without the folders that only concern its owner.

    Relative paths stay as they are: their folder is part of the dataset.
    """
    location = location.removeprefix("file://")
    if "://" in location:
        return hide_secrets(re.split("[?#]", location, maxsplit=1)[0])
    inside = _TAR.sub("", location)
    return inside if not inside.startswith(("/", "~")) else f"…/{inside.rstrip('/').rpartition('/')[2]}"
