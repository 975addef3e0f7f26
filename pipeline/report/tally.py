"""A tally: counts over samples that add up, whichever shard and worker they come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.report.measures import Bin, Counts


@dataclass
class Tally:
    """samples: those counted. counts: (measure, column) -> bin -> how many, as `measures` has them."""

    samples: int = 0
    counts: dict[tuple[str, str], Counter[Bin]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, column: str, found: Counts) -> None:
        """Count what was measured of one member."""
        for measure, bins in found.items():
            self.counts[measure, column].update(bins)

    def of(self, measure: str) -> list[tuple[str, Counter[Bin]]]:
        """(column, its counts) of each column for which something was counted."""
        return [(column, counts) for (name, column), counts in self.counts.items() if name == measure]


def add_tallies(tallies: Iterable[Tally], columns: Iterable[str]) -> Tally:
    """The sum, its columns in this order."""
    found = Tally()
    for tally in tallies:
        found.samples += tally.samples
        for place, counts in tally.counts.items():
            found.counts[place].update(counts)
    order = {column: number for number, column in enumerate(columns)}
    found.counts = dict(sorted(found.counts.items(), key=lambda item: (item[0][0], order[item[0][1]])))
    return found
