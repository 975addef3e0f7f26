"""How well orders mix, measured alike: ours with one lane and with many, and what other loaders do.

An order is a sequence of (shard, index). Each has ten shards open at a time, or a buffer of as many samples.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import webdataset as wds

from t2i_shards.pipeline.stream.lanes import ONE_LANE, Lanes
from t2i_shards.pipeline.stream.order import BLOCK_SHARDS, BlockOrder, SampleIndices, permute

SHARDS, SIZE, BATCH = 640, 50, 32
Sample = tuple[int, int]


def with_lanes(lanes: Lanes) -> list[Sample]:
    order = BlockOrder(0, SampleIndices(dict.fromkeys(range(SHARDS), SIZE), frozenset()), lanes)
    found = []
    blocks: dict[int, object] = {}
    for position in range(len(order)):
        lane, index = lanes.locate(position)
        block = blocks.get(lane)
        if block is None or not block.holds(lane, index):  # type: ignore[attr-defined]
            block = blocks[lane] = order.block(position)
        found.append(block.samples[index - block.first])  # type: ignore[attr-defined]
    return found


def buffer_of_samples() -> list[Sample]:
    """webdataset: shards in random order, then a buffer of samples, filled before the first one is given."""
    shards = permute(SHARDS, 0).tolist()
    buffer = BLOCK_SHARDS * SIZE

    def read() -> Iterator[Sample]:
        for shard in shards:
            yield from ((shard, index) for index in range(SIZE))

    return list(wds.filters._shuffle(read(), bufsize=buffer, initial=buffer, rng=random.Random(0)))


def scattered() -> list[Sample]:
    """MosaicML's py1e: the samples of a shard are spread over a range of positions around where it lies."""
    random_numbers = np.random.default_rng(0)
    shards = permute(SHARDS, 0).tolist()
    reach = (BLOCK_SHARDS - 1) * SIZE / 2
    at = np.arange(SHARDS * SIZE) + random_numbers.uniform(-reach, reach, SHARDS * SIZE)
    return [(shards[i // SIZE], i % SIZE) for i in np.argsort(at).tolist()]


def measure(order: list[Sample]) -> tuple[float, float]:
    """(how far apart two neighbours of a shard come on the average, in samples; samples of a batch whose shard has
    another one in it, as a share). The first is best when large, the second when small."""
    places: dict[int, list[int]] = {}
    for place, (shard, _) in enumerate(order):
        places.setdefault(shard, []).append(place)
    distance = float(np.mean([np.diff(of).mean() for of in places.values()]))
    repeats = [
        BATCH - len({shard for shard, _ in order[start : start + BATCH]})
        for start in range(0, len(order) - BATCH, BATCH)
    ]
    return distance, float(np.mean(repeats)) / BATCH


@pytest.fixture(scope="module")
def others() -> list[tuple[float, float]]:
    return [measure(make()) for make in (buffer_of_samples, scattered, lambda: with_lanes(ONE_LANE))]


@pytest.mark.parametrize("lanes", [Lanes(BATCH, 2, 4), Lanes(BATCH, 8, 4), Lanes(BATCH, 1, 4)])
def test_lanes_mix_as_well_as_the_other_orders(lanes: Lanes, others: list[tuple[float, float]]) -> None:
    distance, repeats = measure(with_lanes(lanes))
    assert distance >= min(distance for distance, _ in others)
    assert repeats <= max(repeats for _, repeats in others) + 0.01


@pytest.mark.parametrize("make", [buffer_of_samples, scattered])
def test_the_others_give_every_sample_once(make: Callable[[], list[Sample]]) -> None:
    assert sorted(make()) == [(shard, index) for shard in range(SHARDS) for index in range(SIZE)]
