"""What is counted of each sample: a function for each member that tells something, and bins that never move.

Bins are fixed, so that the counts of two shards can be added up whichever worker counted them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping

import numpy as np

from extractors import png
from extractors.formats import PeopleRecord
from extractors.records import decode_record
from pipeline.sample_info import SampleInfo

Bin = tuple[int, ...]
"""(width, height) of "stored"; else one number: that of the bin, of persons, or of the class."""
Counts = Mapping[str, Mapping[Bin, int]]
"""measure -> bin -> how many."""

SIDES = (*(64 * i for i in range(1, 17)), 1280, 1536, 1792, 2048, 2560, 3072, 4096, 6144, 8192)
"""Bin i of "original" holds short sides from SIDES[i - 1] to below SIDES[i], in pixels."""
SCORE_BINS = 4
"""Bins of "aesthetic" to one point of the score."""
MOST_PERSONS = 12
"""This many and more fall into one bin of "persons"."""
EDGE_BINS = 100
"""Bins of "edges" from no edge at all to nothing but edge."""
THRESHOLD = 127
"""A pixel above it is an edge: `u8 > 127` is `edge >= 0.5`, where the published sketch adapter cut."""


def measure_known(data: bytes) -> Counts:
    """A picture's json: its stored size, the short side of the original, and its aesthetic score where told."""
    info = decode_record(data, SampleInfo)
    side = min(info.placement.original)
    counts: dict[str, Mapping[Bin, int]] = {
        "stored": {(info.width, info.height): 1},
        "original": {(bisect_right(SIDES, side),): 1},
    }
    score = info.source.get("aesthetic")
    if isinstance(score, int | float) and math.isfinite(score):
        counts["aesthetic"] = {(int(score * SCORE_BINS // 1),): 1}
    return counts


def measure_people(data: bytes) -> Counts:
    """How many persons were found."""
    return {"persons": {(min(decode_record(data, PeopleRecord).persons, MOST_PERSONS),): 1}}


def measure_labels(data: bytes) -> Counts:
    """The classes of a label map: "labels" has the picture for each class that it shows, "pixels" its pixels."""
    pixels = np.bincount(png.decode_indexed(data).ravel(), minlength=256)
    values = np.flatnonzero(pixels).tolist()
    return {
        "labels": {(value,): 1 for value in values},
        "pixels": {(value,): int(pixels[value]) for value in values},
    }


def measure_edges(data: bytes) -> Counts:
    """The share of the pixels of an edge map that are edges."""
    edges = png.decode_grey(data) > THRESHOLD
    return {"edges": {(min(EDGE_BINS * int(edges.sum()) // edges.size, EDGE_BINS - 1),): 1}}


MEASURES: Mapping[str, Callable[[bytes], Counts]] = {
    "json": measure_known,
    "keypose.json": measure_people,
    "seg.png": measure_labels,
    "sketch.png": measure_edges,
    "canny.png": measure_edges,
}
"""member -> what is counted of it. A column is known by its members, for --as may have renamed it."""
