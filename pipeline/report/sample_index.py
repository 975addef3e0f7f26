"""What a page knows of a sample beyond the pictures it shows, to search, filter and sort by."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.plain import hide_secrets
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import SampleInfo, read_info

LONGEST = 1000
"""Characters of a sample's captions that can be searched."""
SCORE = "aesthetic"
_TAR = re.compile(r".*/(?=[^/]+\.(?:tar|tgz|tar\.gz)/)")

Place = tuple[str, str]
"""(name of what was measured, column)"""


@dataclass(frozen=True)
class Entry:
    """One sample. text: its captions, a line each. rank: 0 to 2**64, by the key; a full page keeps the lowest.

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


def shorten_location(location: str) -> str:
    """A URL without its query and secrets, a path without the folders that only concern its owner.

    Relative paths stay as they are: their folder is part of the dataset.
    """
    location = location.removeprefix("file://")
    if "://" in location:
        return hide_secrets(re.split("[?#]", location, maxsplit=1)[0])
    inside = _TAR.sub("", location)
    return inside if not inside.startswith(("/", "~")) else f"…/{inside.rstrip('/').rpartition('/')[2]}"
