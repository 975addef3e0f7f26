"""Mixtures: several streams with weights as one, whose positions are a pure function of the seed and the weights.

The dataset of a position is that of a pattern in which each occurs as often as its weight says, permuted again in
every period; the position in the dataset is how often the dataset occurred before. Each lane goes through the
pattern by itself, and a dataset gives it what is in its own lane of the same number.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.receipt import digest_json
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream.block import Make, T
from t2i_shards.pipeline.stream.order import permute
from t2i_shards.pipeline.stream.share import check_ranks, read_share
from t2i_shards.pipeline.stream.stream import HeldOut, Stream

PERIOD = 1000
"""Length of the pattern: shares are exact to a thousandth."""


def share(weights: Sequence[float]) -> list[int]:
    """Whole numbers with the sum PERIOD in the ratio of the weights, by largest remainder (Hamilton)."""
    exact = [weight * PERIOD / math.fsum(weights) for weight in weights]
    counts = [int(part) for part in exact]
    by_remainder = sorted(range(len(exact)), key=lambda k: (counts[k] - exact[k], k))
    for k in by_remainder[: PERIOD - sum(counts)]:
        counts[k] += 1
    return counts


def mix_streams(streams: Sequence[Stream], weights: Sequence[float], seed: int = 0) -> Mixture:
    """One stream of several, by weight.

    Raises RequestError for weights that are not positive, or so small that a dataset would never come.
    """
    if len(streams) != len(weights) or not all(0 < weight < math.inf for weight in weights):
        raise RequestError(f"a mixture needs a positive weight for each of {len(streams)} datasets, not {weights}")
    if not all(share(weights)):
        raise RequestError(f"each dataset must have at least 1/{PERIOD} of the weight, and these are {weights}")
    batches = {stream.batch for stream in streams}
    if len(batches) > 1:
        raise RequestError(f"the datasets of a mixture must have one batch size, not {sorted(batches)}")
    if len({stream.lanes for stream in streams}) > 1:
        raise RequestError("the datasets of a mixture must have the same lanes")
    return Mixture(streams, share(weights), seed)


class Mixture:
    """Made by `mix_streams`. counts: how many of PERIOD positions are of each stream.

    Each stream continues through its own epochs, as often as its turn comes. `len` is the sum of theirs: an epoch
    of the mixture is so many positions, not each sample once. `make` is given the sample's own key and its own
    dataset's epoch, so that keys may be the same in several datasets. Of streams with buckets whole batches come.
    """

    def __init__(self, streams: Sequence[Stream], counts: Sequence[int], seed: int) -> None:
        self._streams, self._counts, self._seed = list(streams), list(counts), seed
        self.batch, self.lanes = streams[0].batch, streams[0].lanes
        self._patterns: dict[int, tuple[int, list[int], list[int]]] = {}
        self.digest = digest_json({"streams": [stream.digest for stream in streams], "shares": self._counts})

    def __len__(self) -> int:
        return sum(map(len, self._streams))

    @property
    def short_side(self) -> int | None:
        """Of the smallest pictures of all datasets, in pixels; None where that of one is not known."""
        sides = [stream.short_side for stream in self._streams]
        return None if None in sides else min(side for side in sides if side is not None)

    @property
    def removed(self) -> int:
        """As `Stream.removed`, in all."""
        return sum(stream.removed for stream in self._streams)

    @property
    def held_out(self) -> tuple[HeldOut, ...]:
        """As `Stream.held_out`."""
        return tuple(of_dataset for stream in self._streams for of_dataset in stream.held_out)

    def place(self, position: int) -> tuple[int, int]:
        """(number of the dataset, position in its own sequence) of a position."""
        lane, index = self.lanes.locate(position)
        turn, rest = divmod(index, self.batch)
        period, at = divmod(turn, PERIOD)
        if lane not in self._patterns or self._patterns[lane][0] != period:
            self._patterns[lane] = (period, *self._permuted(period, lane))
        _, datasets, before = self._patterns[lane]
        dataset = datasets[at]
        own = (period * self._counts[dataset] + before[at]) * self.batch + rest
        return dataset, self.lanes.position(lane, own)

    def take(self, positions: Iterable[int], make: Make[T]) -> Iterator[tuple[int, T]]:
        """As `Stream.take`."""
        with ExitStack() as stack:
            asked = [deque[int]() for _ in self._streams]
            taken = [
                stack.enter_context(closing(stream.take(_drain(own), make)))
                for stream, own in zip(self._streams, asked, strict=True)
            ]
            for position in positions:
                dataset, own = self.place(position)
                asked[dataset].append(own)
                yield position, next(taken[dataset])[1]

    def samples(self, epoch: int, start: int = 0, *, rank: int = 0, ranks: int | None = None) -> Iterator[Sample]:
        """As `Stream.samples`."""
        return read_share(self, epoch, start, rank, check_ranks(rank, ranks))

    def hold_out(self, count: int) -> tuple[Mixture, list[Sample]]:
        """As `Stream.hold_out`: each dataset lacks its own share of the first `count` positions."""
        datasets = [self.place(position)[0] for position in range(count)]
        held_out = [stream.hold_out(datasets.count(k)) for k, stream in enumerate(self._streams)]
        samples = [sample for _, of_dataset in held_out for sample in of_dataset]
        return Mixture([stream for stream, _ in held_out], self._counts, self._seed), samples

    def _permuted(self, period: int, lane: int) -> tuple[list[int], list[int]]:
        """The dataset at each place of a lane's period, and how often it occurred before in it."""
        pattern = np.repeat(np.arange(len(self._counts)), self._counts)
        own = (lane,) if lane else ()  # the first lane has the pattern of a mixture without lanes
        datasets = pattern[permute(PERIOD, self._seed, period, *own)]
        before = np.zeros(PERIOD, np.int64)
        for dataset, count in enumerate(self._counts):
            before[datasets == dataset] = np.arange(count)
        return datasets.tolist(), before.tolist()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_patterns": {}}


def _drain(asked: deque[int]) -> Iterator[int]:
    """What was asked last; the taker never asks for more than it was given."""
    while True:
        yield asked.popleft()
