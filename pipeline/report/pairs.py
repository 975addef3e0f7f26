"""Duplicates side by side: the pairs that are shown, the least alike first, for those are the ones to judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.image import decode_rgb
from pipeline.report.rows import shrink
from pipeline.sample import Sample

MOST_PAIRS = 12


@dataclass(frozen=True)
class Thumbnail:
    """A picture as it is shown: uint8 (H, W, 3) RGB or (H, W) grey, and its caption."""

    key: str
    image: np.ndarray
    caption: str


@dataclass(frozen=True)
class Pair:
    """`key` is a duplicate of `of`. kind: "exact" (same file) or "near" (`bits` of 64 differ)."""

    key: str
    of: str
    kind: str
    bits: int


@dataclass(frozen=True)
class Duplicates:
    """kinds: kind -> pictures that are duplicates of earlier ones. groups: how many they are duplicates of.

    pairs: those to be shown. thumbnails: key -> picture, of their keys that could be read.
    """

    kinds: Mapping[str, int]
    groups: int
    pairs: tuple[Pair, ...]
    thumbnails: Mapping[str, Thumbnail]

    @property
    def count(self) -> int:
        return sum(self.kinds.values())

    @property
    def shown(self) -> list[tuple[Pair, Thumbnail, Thumbnail]]:
        """(pair, the earlier picture, its duplicate) of the pairs that have both."""
        seen = self.thumbnails
        return [(p, seen[p.of], seen[p.key]) for p in self.pairs if p.of in seen and p.key in seen]


def choose_pairs(table: pa.Table, removed: Collection[str]) -> tuple[Pair, ...]:
    """MOST_PAIRS of the table of duplicates, those that differ in most bits first; none of removed pictures."""
    names = ("key", "of", "kind", "bits")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    pairs = sorted((Pair(*row) for row in rows), key=lambda pair: (-pair.bits, pair.kind != "near", pair.key))
    return tuple(pair for pair in pairs if pair.key not in removed and pair.of not in removed)[:MOST_PAIRS]


def describe_duplicates(
    table: pa.Table, pairs: tuple[Pair, ...], thumbnails: Mapping[str, Thumbnail]
) -> Duplicates:
    """What a page shows of the table."""
    kinds = Counter(table["kind"].to_pylist())
    return Duplicates(dict(sorted(kinds.items())), len(set(table["of"].to_pylist())), pairs, thumbnails)


def draw_thumbnail(sample: Sample) -> Thumbnail:
    """The picture and first caption of a sample of images."""
    caption = bytes(sample.members["txt"]).decode("utf-8", "replace").strip()
    return Thumbnail(sample.key, shrink(decode_rgb(sample.members["jpg"])), caption)
