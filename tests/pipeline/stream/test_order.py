"""The order: a pure function of seed, epoch and the numbers of samples, found from any position."""

from __future__ import annotations

from itertools import pairwise

import pytest

from t2i_shards.pipeline.stream import order as order_module
from t2i_shards.pipeline.stream.order import (
    BLOCK_SHARDS,
    BlockOrder,
    SampleIndex,
    SampleIndices,
    cut_blocks,
    permute,
)

UNEVEN = {shard: (shard * 7) % 5 for shard in range(23)}  # some shards are empty


def make_order(seed: int = 3, held_out: frozenset[SampleIndex] = frozenset()) -> BlockOrder:
    return BlockOrder(seed, SampleIndices(UNEVEN, held_out))


def sequence(order: BlockOrder, epoch: int) -> list[SampleIndex]:
    """The places of an epoch, block after block."""
    found: list[SampleIndex] = []
    while len(found) < len(order):
        block = order.block(epoch * len(order) + len(found))
        assert (block.epoch, block.first) == (epoch, epoch * len(order) + len(found))
        found += block.samples
    return found


def test_permutations_will_not_change_with_a_release() -> None:
    """Golden: a training that is resumed months later must get the rest of the same epoch."""
    assert permute(8, 0, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert permute(8, 7, 3, 1).tolist() == [1, 6, 5, 0, 7, 2, 3, 4]
    assert sorted(permute(1000, 5).tolist()) == list(range(1000))
    assert permute(0, 1).tolist() == []


def test_the_order_will_not_change_with_a_release() -> None:
    assert sequence(make_order(), 0)[:6] == GOLDEN[0]
    assert sequence(make_order(), 1)[-6:] == GOLDEN[1]


GOLDEN = (
    [(7, 2), (22, 0), (16, 0), (12, 1), (7, 1), (19, 0)],
    [(17, 2), (16, 1), (16, 0), (4, 1), (9, 1), (22, 0)],
)


def test_every_sample_occurs_once_in_an_epoch() -> None:
    samples = sorted((shard, index) for shard, count in UNEVEN.items() for index in range(count))
    orders = [sequence(make_order(seed), epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(sorted(order) == samples for order in orders)
    assert len({tuple(order) for order in orders}) == 6


def test_any_position_finds_the_block_that_going_through_finds() -> None:
    order = make_order()
    samples = [index for epoch in range(3) for index in sequence(order, epoch)]
    for position in reversed(range(len(samples))):
        block = make_order().block(position)
        assert block.first <= position < block.stop
        assert block.samples[position - block.first] == samples[position]
        assert order.block(position) == block, "what was asked before must not matter"


def test_a_position_far_away_costs_one_epochs_shards_and_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    permuted: list[int] = []

    def note(count: int, *seed: int) -> object:
        permuted.append(count)
        return permute(count, *seed)

    monkeypatch.setattr(order_module, "permute", note)
    order = make_order()
    block = order.block(10**9 * len(order) + 30)
    assert permuted == [len(UNEVEN), len(block.samples)]


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 19, 20, 23, 29, 30, 101])
def test_a_block_has_ten_shards_where_there_are_ten(count: int) -> None:
    blocks = cut_blocks(range(count))
    assert [shard for block in blocks for shard in block] == list(range(count))
    sizes = [len(block) for block in blocks]
    assert min(sizes) >= min(BLOCK_SHARDS, count)
    assert max(sizes) < 2 * BLOCK_SHARDS
    assert max(sizes) - min(sizes) <= 1


def test_a_block_mixes_its_shards_and_epochs_mix_the_blocks() -> None:
    order = BlockOrder(3, SampleIndices(dict.fromkeys(range(23), 3), frozenset()))
    first = [shard for shard, _ in order.block(0).samples]
    assert len(set(first)) >= BLOCK_SHARDS
    assert sum(a != b for a, b in pairwise(first)) > len(first) / 2
    assert order.block(0).shards != order.block(len(order)).shards


def test_held_out_samples_never_occur_in_the_order() -> None:
    held_out = frozenset(sequence(make_order(), 0)[:7])
    order = make_order().without(held_out)
    everything = set(sequence(make_order(), 0))
    assert len(order) == len(everything) - 7
    for epoch in range(3):
        assert sorted(sequence(order, epoch)) == sorted(everything - held_out)


def test_what_is_left_does_not_depend_on_how_it_was_held_out() -> None:
    some, more = frozenset(sequence(make_order(), 0)[:3]), frozenset(sequence(make_order(), 0)[3:9])
    at_once = make_order(held_out=some | more)
    assert sequence(make_order().without(some).without(more), 2) == sequence(at_once, 2)
    assert make_order().without(some).without(more).describe() == at_once.describe() != make_order().describe()
