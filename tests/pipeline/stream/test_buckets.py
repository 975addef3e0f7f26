"""Aspect buckets: each batch of one stored size, but for a mixed rest, and all else as without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.pipeline.errors import BrokenStage, RequestError
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import Stream, open_stream
from t2i_shards.pipeline.stream.buckets import BucketOrder
from t2i_shards.pipeline.stream.order import BLOCK_SHARDS, SampleIndex, SampleIndices, Shape
from t2i_shards.pipeline.stream.shapes import Shapes
from tests.pipeline.stream.conftest import SHARD_SIZE, SHARDS
from tests.pipeline.stream.toys import BATCH, WORLDS, MemoryShards, name, run_world

COUNTS = {shard: 3 + (shard * 7) % 5 for shard in range(32)}
TOTAL = sum(COUNTS.values())
SIZES = [(512, 512), (512, 768), (640, 512), (1024, 512)]
RARE = 3
"""Number of the shape that five samples have, each in another shard."""
STEPS = range(3 * (TOTAL // BATCH))


def make_shapes() -> Shapes:
    rng = np.random.default_rng(5)
    numbers = {shard: rng.choice(3, count, p=[0.6, 0.3, 0.1]).astype(np.uint16) for shard, count in COUNTS.items()}
    for shard in (0, 7, 13, 21, 30):
        numbers[shard][1] = RARE
    return Shapes(SIZES, numbers)


def make_order(batch: int = BATCH, seed: int = 3) -> BucketOrder:
    return BucketOrder(seed, SampleIndices(COUNTS, frozenset()), make_shapes(), batch)


def bucket_stream(**options: Any) -> Stream:
    return Stream(MemoryShards(COUNTS, **options), make_order(), skip_damaged=2)  # type: ignore[arg-type]


def shape_of(index: SampleIndex) -> Shape:
    return SIZES[int(make_shapes().numbers[index[0]][index[1]])]


def sequence(order: BucketOrder, epoch: int) -> tuple[list[SampleIndex], list[Shape | None]]:
    """The places of an epoch, and the shape that each position is said to have."""
    samples: list[SampleIndex] = []
    shapes: list[Shape | None] = []
    while len(samples) < len(order):
        block = order.block(epoch * len(order) + len(samples))
        assert (block.epoch, block.first) == (epoch, epoch * len(order) + len(samples))
        shapes += [block.shape(position) for position in range(block.first, block.stop)]
        samples += block.samples
    return samples, shapes


@pytest.mark.parametrize("batch", [1, 2, 5, BATCH, 50])
def test_a_batch_has_one_shape_and_the_mixed_rest_comes_last(batch: int) -> None:
    order = make_order(batch)
    assert len(order) == TOTAL // batch * batch
    counts = np.bincount(np.concatenate(list(make_shapes().numbers.values())))
    whole = sum(counts // batch) * batch
    for epoch in range(3):
        samples, shapes = sequence(order, epoch)
        assert len(set(samples)) == len(samples) == len(order)
        assert shapes[whole:] == [None] * (len(order) - whole)
        for start in range(0, whole, batch):
            (shape,) = {shape_of(index) for index in samples[start : start + batch]}
            assert set(shapes[start : start + batch]) == {shape}


def test_epochs_and_seeds_differ_and_leave_out_others() -> None:
    orders = {(seed, epoch): sequence(make_order(50, seed), epoch)[0] for seed in (0, 1) for epoch in range(3)}
    assert len({tuple(samples) for samples in orders.values()}) == 6
    assert len({frozenset(samples) for samples in orders.values()}) > 1
    assert all(sequence(make_order(50, seed), epoch)[0] == samples for (seed, epoch), samples in orders.items())


def test_the_order_will_not_change_with_a_release() -> None:
    """Golden: a training that is resumed months later must get the rest of the same epoch."""
    samples, _ = sequence(make_order(), 1)
    assert (samples[:4], samples[-4:]) == GOLDEN


GOLDEN = ([(6, 0), (28, 1), (24, 1), (6, 2)], [(21, 1), (7, 1), (2, 5), (0, 1)])


def test_sizes_are_mixed_within_a_block() -> None:
    shapes = [shape for shape in sequence(make_order(2), 0)[1] if shape]
    assert sum(a != b for a, b in zip(shapes[::2], shapes[2::2], strict=False)) > len(shapes) / 2 / 4


def test_any_position_finds_the_block_that_going_through_finds() -> None:
    order = make_order()
    samples = [index for epoch in range(2) for index in sequence(order, epoch)[0]]
    for position in reversed(range(len(samples))):
        block = make_order().block(position)
        assert block.first <= position < block.stop
        assert block.samples[position - block.first] == samples[position]


def test_a_block_needs_few_shards_of_earlier_ones() -> None:
    """Those whose samples wait for others of their size: less than a batch of each."""
    order = make_order(4)
    first = order.block(0)
    second = order.block(first.stop)
    assert BLOCK_SHARDS <= len(first.shards) < 2 * BLOCK_SHARDS
    waited = [index for index in second.samples if index[0] in first.shards]
    assert 0 < len(waited) <= 3 * len(SIZES)
    # They were passed over, not handed out twice.
    assert not set(waited) & set(first.samples)


def test_held_out_samples_never_occur_in_the_order() -> None:
    held_out = frozenset(sequence(make_order(), 0)[0][:13])
    order = make_order().without(held_out)
    assert len(order) == (TOTAL - 13) // BATCH * BATCH
    for epoch in range(3):
        samples, shapes = sequence(order, epoch)
        assert not held_out & set(samples)
        assert len(set(samples)) == len(order)
        assert set(shapes) - {None}
        assert all(shape in (None, shape_of(index)) for index, shape in zip(samples, shapes, strict=True))


def picky(sample: Sample, epoch: int, *_: object) -> tuple[str, int]:
    if sum(map(ord, sample.key)) % 4 == 0:
        raise ValueError("bad")
    return name(sample, epoch)


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_takes_the_same_sequence_of_the_same_shapes(world: tuple[int, int]) -> None:
    expected, (alone,) = run_world(lambda: bucket_stream(gone=frozenset({5})), STEPS, (1, 0), picky)
    got, _ = run_world(lambda: bucket_stream(gone=frozenset({5})), STEPS, world, picky)
    assert got == expected
    # The replacement of a bad sample has its shape too.
    samples = {f"s{shard:02d}-{i:02d}": (shard, i) for shard, count in COUNTS.items() for i in range(count)}
    shapes = {alone.block(position).shape(position) for position, _ in got}
    assert {None, *SIZES[:2]} <= shapes
    for position, (key, _) in got:
        assert alone.block(position).shape(position) in (None, shape_of(samples[key]))


def test_stopping_and_resuming_at_any_position_changes_nothing() -> None:
    end = 2 * len(bucket_stream())
    whole = list(bucket_stream().take(range(end), name))
    assert [position for position, _ in whole] == list(range(end))
    for position in range(0, end, 3):
        assert list(bucket_stream().take(range(position, end), name)) == whole[position:]


def test_other_sizes_are_another_order() -> None:
    numbers = {**make_shapes().numbers, 4: make_shapes().numbers[4][::-1]}
    assert Shapes(SIZES, numbers).digest() != make_shapes().digest() != Shapes(SIZES[::-1], numbers).digest()
    other = BucketOrder(3, SampleIndices(COUNTS, frozenset()), Shapes(SIZES, numbers), BATCH)
    assert other.describe() != make_order().describe()


def test_a_shape_without_a_good_sample_stops_the_stream() -> None:
    """Another shape would not fit into the batch."""
    numbers = make_shapes().numbers

    def picky(sample: Sample, epoch: int, *_: object) -> str:
        if numbers[int(sample.key[1:3])][int(sample.key[4:])] == 1:
            raise ValueError("bad")
        return sample.key

    with pytest.raises(BrokenStage, match="no sample of a block of"):
        list(bucket_stream().take(range(len(make_order())), picky))


def test_the_sizes_are_read_without_opening_a_shard(root: Path, tmp_path: Path) -> None:
    stream = open_stream(str(root), ["toy"], buckets=4)
    assert stream.batch == 4
    assert len(stream) == (SHARDS * SHARD_SIZE - 2) // 4 * 4
    shapes = set()
    for _, (sample, shape) in stream.take(range(2 * len(stream)), lambda sample, _, shape: (sample, shape)):
        known = json.loads(bytes(sample.members["json"]))
        if shape:
            shapes.add(shape)
            assert shape == (known["width"], known["height"])
    assert shapes == {(64, 64), (128, 64)}
    # Golden: a training continues in the order that it was begun with.
    assert stream._order.describe()["shapes"] == "0a08e464f8c35fe4f65173b3b2e0bd7462ca8a1337d89137c610074acd5ca106"
    assert len({open_stream(str(root), ["toy"], buckets=b).digest for b in (None, 4, 5)}) == 3


def test_sizes_that_are_not_known_are_refused(small: Path) -> None:
    for tar in small.glob("*/*.tar"):
        tar.unlink()
    assert len(open_stream(str(small), ["toy"], buckets=2)) == 6
    (small / "images" / "000001.rows.parquet").unlink()
    with pytest.raises(
        RequestError,
        match=r"buckets need the sizes of all pictures from images/\*\.rows\.parquet: images/000001\.",
    ):
        open_stream(str(small), ["toy"], buckets=2)
    for batch in (0, 7):
        with pytest.raises(RequestError, match=f"buckets need batches of 1 to 6 samples, not {batch}"):
            open_stream(str(small), ["toy"], buckets=batch)


def test_without_buckets_no_position_has_a_shape(root: Path) -> None:
    stream = open_stream(str(root), [])
    assert {shape for _, shape in stream.take(range(80), lambda sample, epoch, shape: shape)} == {None}
    assert stream.batch == 1
