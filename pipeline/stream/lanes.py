"""Lanes: the endless sequence divided among its readers, so that each shard is opened by one of them.

A training step takes `batch` positions. Each rank reads a range of the slots of every step, and each of its
loaders reads every n-th step. A lane is such a part of the sequence: some slots of every n-th step. It has its own
shards, so ranks and loaders that read whole lanes have no shard in common. The lane of a position depends on the
position alone: the sequence is the same however many readers share it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t2i_shards.pipeline.errors import RequestError

DEFAULT_LANES = 8
"""Lanes of a new run that asks for no number. A single reader keeps at least ten shards of each open."""
LANE_SHARDS = 20
"""A lane has at least this many shards. Two lanes may share a shard at their border: 5 % more reads, at most."""
PHASES = (4, 2, 1)
"""Steps after which the first lanes come round again, the preferred number first: the most loaders of a rank that
share no lane."""


@dataclass(frozen=True)
class Lanes:
    """Slot i of step t is in lane (t mod phases) * slots + i // (batch / slots).

    batch: positions in a step. slots: parts of a step, which divide it. phases: steps after which the first lanes
    come again. One lane is the whole sequence.
    """

    batch: int = 1
    slots: int = 1
    phases: int = 1

    def __post_init__(self) -> None:
        if min(self.batch, self.slots, self.phases) < 1 or self.batch % self.slots:
            raise ValueError(f"{self.slots} slots must divide a batch of {self.batch}, in {self.phases} phases")

    def __len__(self) -> int:
        return self.slots * self.phases

    @property
    def width(self) -> int:
        """Positions of a step that are in one lane."""
        return self.batch // self.slots

    def locate(self, position: int) -> tuple[int, int]:
        """(lane, index in the lane) of a position."""
        step, slot = divmod(position, self.batch)
        rounds, phase = divmod(step, self.phases)
        part, rest = divmod(slot, self.width)
        return phase * self.slots + part, rounds * self.width + rest

    def position(self, lane: int, index: int) -> int:
        """The position with this index in the lane."""
        phase, part = divmod(lane, self.slots)
        rounds, rest = divmod(index, self.width)
        return (rounds * self.phases + phase) * self.batch + part * self.width + rest

    def before(self, lane: int, position: int) -> int:
        """How many positions before this one are in the lane."""
        phase, part = divmod(lane, self.slots)
        step, slot = divmod(position, self.batch)
        rounds, now = divmod(step, self.phases)
        if now != phase:
            return (rounds + (now > phase)) * self.width
        return rounds * self.width + min(max(slot - part * self.width, 0), self.width)

    def describe(self) -> Mapping[str, Any]:
        """What decides the order, as JSON; empty for one lane, which is the order without lanes."""
        return {"lanes": [self.batch, self.slots, self.phases]} if len(self) > 1 else {}


ONE_LANE = Lanes()
"""The whole sequence."""


def choose_lanes(batch: int, shards: Sequence[int], asked: int | None = None) -> Lanes:
    """As many lanes as were asked for, or fewer where there are too few shards.

    shards: of each dataset that is read; all have the same lanes. Raises RequestError for a number that no
    division of a batch gives.
    """
    most = max(1, min(shards) // LANE_SHARDS)
    if asked is not None and divide_batch(batch, asked) is None:
        raise RequestError(f"--lanes must be 1, 2 or 4 times a number that divides --batch {batch}, not {asked}")
    wanted = min(asked or DEFAULT_LANES, most)
    return next(lanes for count in range(wanted, 0, -1) if (lanes := divide_batch(batch, count)))


def count_readers(lanes: Lanes, ranks: int, loaders: int) -> int:
    """How many of the reading processes share a lane, at most: each of them opens its shards.

    ranks: among which each batch is divided evenly. loaders: of each rank, which take its steps in turns.
    """
    loaders, share = max(1, loaders), lanes.batch // ranks
    bounds = ((part * lanes.width // share, (part + 1) * lanes.width - 1) for part in range(lanes.slots))
    return max(last // share - first + 1 for first, last in bounds) * (loaders // math.gcd(loaders, lanes.phases))


def find_better(lanes: Lanes, shards: Sequence[int], ranks: int, loaders: int) -> Lanes | None:
    """Lanes of which fewer processes share each, where there are shards enough; None without.

    ranks, loaders: as `count_readers` has them.
    """
    better = choose_lanes(lanes.batch, shards, PHASES[0] * ranks)
    fewer = count_readers(better, ranks, loaders) < count_readers(lanes, ranks, loaders)
    return better if fewer else None


def divide_batch(batch: int, count: int) -> Lanes | None:
    """So many lanes, in as many phases as possible; None where the batch has no such division."""
    for phases in PHASES:
        slots, rest = divmod(count, phases)
        if not rest and slots and batch % slots == 0:
            return Lanes(batch, slots, phases)
    return None
