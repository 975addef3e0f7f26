"""The captions that a page carries to be searched: all of them, or a uniform sample that is always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import read_info

MOST_SAMPLES = 100_000
MOST_CHARACTERS = 24_000_000
"""A page holds the captions of no more samples, and no more of them; their text is most of its size."""
LONGEST = 1000
"""Characters of a sample's captions that can be searched."""


@dataclass(frozen=True)
class Captioned:
    """The captions of a sample, a line each. rank: 0 to 2**64, by the key alone; a sample keeps the lowest."""

    key: str
    text: str
    rank: int
    cut: bool = False


@dataclass(frozen=True)
class Captions:
    """What can be searched, in the dataset's order. of: samples there are. cut: those whose text was too long."""

    entries: tuple[Captioned, ...]
    of: int
    cut: int


def choose_limit(samples: int) -> int:
    """The rank below which a worker hands captions on, so that it never hands on far too many."""
    return 2**64 if samples <= MOST_SAMPLES else 2**64 * MOST_SAMPLES // samples


def read_caption(sample: Sample) -> Captioned:
    """All captions of a sample, from its json; where that cannot be read, the one of its txt."""
    try:
        text = "\n".join(read_info(sample).captions)
    except DamagedShard:
        text = bytes(sample.members["txt"]).decode("utf-8", "replace")
    return Captioned(sample.key, text[:LONGEST], rank(sample.key), len(text) > LONGEST)


def rank(key: str) -> int:
    """0 to 2**64, as good as drawn by lot."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())


def choose_captions(by_shard: Mapping[int, Sequence[Captioned]], shown: Sequence[str], of: int) -> Captions:
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
    return Captions(entries, of, sum(entry.cut for entry in entries))
