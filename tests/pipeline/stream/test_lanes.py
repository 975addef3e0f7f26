"""Lanes: the same sequence for every world, each sample once in an epoch, each shard opened by one reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stream import Stream, mix_streams
from t2i_shards.pipeline.stream.lanes import (
    LANE_SHARDS,
    ONE_LANE,
    Lanes,
    choose_lanes,
    count_readers,
    find_better,
)
from t2i_shards.pipeline.stream.order import BLOCK_SHARDS, BlockOrder, SampleIndices
from t2i_shards.pipeline.stream.share import own_positions
from tests.pipeline.stream.test_mixture import Named
from tests.pipeline.stream.toys import BATCH, WORLDS, MemoryShards, name, run_world, split

SHAPES = [Lanes(1, 1, 1), Lanes(8, 2, 4), Lanes(8, 8, 2), Lanes(6, 3, 3), Lanes(4, 4, 1), Lanes(1, 1, 5)]
UNEVEN = {shard: (shard * 7) % 5 for shard in range(83)}
EIGHT = Lanes(BATCH, 4, 2)


def order_of(lanes: Lanes, counts: dict[int, int] = UNEVEN) -> BlockOrder:
    return BlockOrder(3, SampleIndices(counts, frozenset()), lanes)


def stream_of(lanes: Lanes, counts: dict[int, int] = UNEVEN, gone: frozenset[int] = frozenset()) -> Stream:
    return Stream(MemoryShards(counts, gone), order_of(lanes, counts), len(gone))  # type: ignore[arg-type]


@pytest.mark.parametrize("lanes", SHAPES)
def test_positions_and_indices_are_one_to_one(lanes: Lanes) -> None:
    count = [0] * len(lanes)
    for position in range(3 * lanes.batch * lanes.phases + 5):
        assert [lanes.before(lane, position) for lane in range(len(lanes))] == count
        lane, index = lanes.locate(position)
        assert (index, lanes.position(lane, index)) == (count[lane], position)
        count[lane] += 1


def test_a_part_of_a_batch_must_be_whole() -> None:
    with pytest.raises(ValueError, match=r"^3 slots must divide a batch of 8, in 2 phases$"):
        Lanes(8, 3, 2)


@pytest.mark.parametrize("lanes", SHAPES)
def test_every_sample_once_in_each_epoch(lanes: Lanes) -> None:
    order = order_of(lanes)
    expected = sorted((shard, index) for shard, count in UNEVEN.items() for index in range(count))
    seen = set()
    for epoch in range(3):
        found = []
        for position in range(epoch * len(order), (epoch + 1) * len(order)):
            block = order.block(position)
            lane, index = lanes.locate(position)
            assert block.holds(lane, index)
            assert block.epoch == epoch
            found.append(block.samples[index - block.first])
        assert sorted(found) == expected
        seen.add(tuple(found))
    assert len(seen) == 3


def test_the_order_will_not_change_with_a_release() -> None:
    order = order_of(EIGHT)
    blocks = [(order.block(p), *EIGHT.locate(p)) for p in range(8)]
    assert [block.samples[index - block.first] for block, _, index in blocks] == GOLDEN


GOLDEN = [(4, 0), (9, 2), (59, 0), (34, 1), (22, 3), (16, 0), (12, 2), (26, 0)]


def test_a_lane_has_blocks_of_ten_shards() -> None:
    order = order_of(EIGHT, dict.fromkeys(range(8 * LANE_SHARDS), 4))
    assert all(len(order.block(position).shards) >= BLOCK_SHARDS for position in range(2 * len(order)))


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_takes_the_same_sequence(world: tuple[int, int]) -> None:
    steps = range(3 * sum(UNEVEN.values()) // BATCH)
    expected = list(stream_of(EIGHT).take(range(len(steps) * BATCH), name))
    assert run_world(lambda: stream_of(EIGHT), steps, world)[0] == expected
    skipping = frozenset({4, 17})
    expected = list(stream_of(EIGHT, gone=skipping).take(range(len(steps) * BATCH), name))
    assert run_world(lambda: stream_of(EIGHT, gone=skipping), steps, world)[0] == expected


@pytest.mark.parametrize(("ranks", "loaders"), [(1, 0), (1, 2), (2, 4), (8, 1), (8, 4)])
def test_each_shard_is_opened_once_in_an_epoch(ranks: int, loaders: int) -> None:
    """Of 32 lanes. Those that lie at the border of two lanes are opened twice: 5 % more at most."""
    lanes, size = Lanes(BATCH, 8, 4), 16
    counts = dict.fromkeys(range(len(lanes) * LANE_SHARDS), size)
    readers = split(range(len(counts) * size // BATCH), ranks, loaders)
    assert len(readers) == ranks * max(1, loaders)
    opened = Counter[int]()
    for positions in readers:
        held = MemoryShards(counts)
        for _ in Stream(held, order_of(lanes, counts)).take(positions, name):  # type: ignore[arg-type]
            pass
        opened += Counter(held.opened)
    assert opened.keys() == counts.keys()
    assert opened.total() <= 1.05 * len(counts)


@pytest.mark.parametrize("lanes", [Lanes(BATCH, 2, 4), Lanes(BATCH, 4, 2), Lanes(BATCH, 1, 1), Lanes(BATCH, 8, 4)])
@pytest.mark.parametrize(("ranks", "loaders"), [(1, 0), (1, 3), (2, 4), (4, 2), (8, 4)])
def test_as_many_open_a_shard_as_is_said(lanes: Lanes, ranks: int, loaders: int) -> None:
    counts = dict.fromkeys(range(len(lanes) * LANE_SHARDS), 16)
    opened = Counter[int]()
    for positions in split(range(len(counts) * 16 // BATCH), ranks, loaders):
        held = MemoryShards(counts)
        for _ in Stream(held, order_of(lanes, counts)).take(positions, name):  # type: ignore[arg-type]
            pass
        opened += Counter(held.opened)
    each = count_readers(lanes, ranks, loaders)
    assert each * len(counts) <= opened.total() <= 1.05 * each * len(counts)


def test_better_lanes_are_named_where_there_are_shards_enough() -> None:
    lanes = choose_lanes(256, [5000])
    assert (len(lanes), count_readers(lanes, 32, 4)) == (8, 16)
    better = find_better(lanes, [5000], 32, 4)
    assert better is not None
    assert (len(better), count_readers(better, 32, 4)) == (128, 1)
    assert find_better(better, [5000], 32, 4) is None
    assert find_better(lanes, [5000], 2, 4) is None
    assert find_better(lanes, [160], 32, 4) is None


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_of_an_epoch_open_each_shard_once(parts: int) -> None:
    lanes = Lanes(1, 1, 4)
    counts = dict.fromkeys(range(len(lanes) * LANE_SHARDS), 4)
    opened = Counter[int]()
    keys = []
    for part in range(parts):
        held = MemoryShards(counts)
        stream = Stream(held, order_of(lanes, counts))  # type: ignore[arg-type]
        positions = own_positions(len(stream), 2 * len(stream), 1, part, parts)
        keys += [key for _, (key, _) in stream.take(positions, name)]
        opened += Counter(held.opened)
    assert len(keys) == len(set(keys)) == sum(counts.values())
    assert opened.total() <= 1.05 * len(counts)


def test_held_out_samples_are_in_few_shards_and_never_come() -> None:
    stream = stream_of(EIGHT)
    rest, held_out = stream.hold_out(15)
    assert len({sample.key[:3] for sample in held_out}) > 5
    assert {int(sample.key[1:3]) for sample in held_out} <= stream.block(0).shards
    found = [made[0] for _, made in rest.take(range(len(rest)), name)]
    assert sorted(found + [sample.key for sample in held_out]) == sorted(
        made[0] for _, made in stream.take(range(len(stream)), name)
    )


def test_a_mixture_reads_each_shard_of_its_datasets_once() -> None:
    def reader(positions: Sequence[int]) -> list[list[int]]:
        held = [Named(dataset, 160) for dataset in (b"a", b"b")]
        streams = [Stream(each, order_of(EIGHT, each.counts())) for each in held]  # type: ignore[arg-type]
        for _ in mix_streams(streams, [1, 1]).take(positions, lambda *of: None):
            pass
        return [each.opened for each in held]

    counts = Named(b"a", 160).counts()
    steps = range(int(0.6 * 2 * sum(counts.values())) // BATCH)
    opened = [reader(positions) for positions in split(steps, 4, 2)]
    for dataset in range(2):
        assert 150 <= sum(len(of_reader[dataset]) for of_reader in opened) <= 1.05 * 160


def test_lanes_of_a_mixture_have_patterns_of_their_own() -> None:
    lanes = Lanes(BATCH, BATCH, 1)
    mixed = mix_streams([stream_of(lanes), stream_of(lanes)], [1, 1])
    batches = [{mixed.place(step * BATCH + slot)[0] for slot in range(BATCH)} for step in range(50)]
    assert sum(len(datasets) == 2 for datasets in batches) > 40


def test_lanes_of_a_mixture_are_the_same() -> None:
    with pytest.raises(RequestError, match=r"^the datasets of a mixture must have the same lanes$"):
        mix_streams([stream_of(EIGHT), stream_of(ONE_LANE)], [1, 1])


@pytest.mark.parametrize(
    ("batch", "shards", "asked", "expected"),
    [
        (8, [5], None, Lanes(8, 1, 1)),
        (8, [100], None, Lanes(8, 1, 4)),
        (8, [1000], None, Lanes(8, 2, 4)),
        (8, [10**5], 32, Lanes(8, 8, 4)),
        (256, [10**5], 1024, Lanes(256, 256, 4)),
        (8, [10**5, 45], 32, Lanes(8, 1, 2)),
        (7, [10**5], 7, Lanes(7, 7, 1)),
        (8, [10**5], 1, Lanes(8, 1, 1)),
    ],
)
def test_lanes_are_as_many_as_shards_allow(
    batch: int, shards: list[int], asked: int | None, expected: Lanes
) -> None:
    assert choose_lanes(batch, shards, asked) == expected


@pytest.mark.parametrize("asked", [12, 64, 5])
def test_a_number_that_no_batch_is_divided_into_is_refused(asked: int) -> None:
    with pytest.raises(
        RequestError, match=rf"^--lanes must be 1, 2 or 4 times .* divides --batch 8, not {asked}$"
    ):
        choose_lanes(8, [10**5], asked)


def test_one_lane_is_the_order_without_lanes() -> None:
    assert stream_of(Lanes(8, 1, 1)).digest == stream_of(ONE_LANE).digest != stream_of(EIGHT).digest
