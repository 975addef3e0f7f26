"""What many samples hold, counted: what they can be sorted and filtered by, and what columns lack of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from t2i_shards.pipeline.report.sample_index import Entry, Place

LISTED = 500
"""Dropped files that the page names where it is not searched."""

Lacking = tuple[int, int, str, str, str, str]
"""(shard, position in it, column, file, reason, key) of a sample that a column lacks."""


@dataclass
class Contents:
    """Counts of samples, in all; cut: those whose text was too long.

    numbers: place -> samples that have the number. classes: (place, class) -> samples that show it.
    drops: (column, reason) -> samples that the column lacks. lacking: the first LISTED of them.
    """

    samples: int = 0
    cut: int = 0
    numbers: Counter[Place] = field(default_factory=Counter)
    classes: Counter[tuple[Place, int]] = field(default_factory=Counter)
    drops: Counter[tuple[str, str]] = field(default_factory=Counter)
    lacking: list[Lacking] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Sequence[Entry], shard: int = 0) -> Contents:
        """Of these samples, in order. shard: theirs, or 0 where they are those of all shards."""
        return cls(
            samples=len(entries),
            cut=sum(entry.cut for entry in entries),
            numbers=Counter(place for entry in entries for place in entry.numbers),
            classes=Counter((p, number) for e in entries for p, shown in e.classes.items() for number in shown),
            drops=Counter(drop for entry in entries for drop in entry.drops.items()),
            lacking=list(
                islice(
                    (
                        (shard, at, column, entry.name, reason, entry.key)
                        for at, entry in enumerate(entries)
                        for column, reason in entry.drops.items()
                    ),
                    LISTED,
                )
            ),
        )

    def add(self, other: Contents) -> None:
        """Count the samples of another shard too."""
        self.samples += other.samples
        self.cut += other.cut
        self.numbers.update(other.numbers)
        self.classes.update(other.classes)
        self.drops.update(other.drops)
        if other.lacking:
            self.lacking = sorted([*self.lacking, *other.lacking])[:LISTED]

    def sort(self, columns: Iterable[str]) -> Contents:
        """The same in an order that does not depend on which shard came first. columns: images first."""
        order = {column: number for number, column in enumerate(columns)}
        return Contents(
            self.samples,
            self.cut,
            Counter(dict(sorted(self.numbers.items(), key=lambda item: (order[item[0][1]], item[0])))),
            Counter(dict(sorted(self.classes.items(), key=lambda item: (order[item[0][0][1]], item[0])))),
            Counter(dict(sorted(self.drops.items(), key=lambda item: (order[item[0][0]], item[0])))),
            self.lacking,
        )
