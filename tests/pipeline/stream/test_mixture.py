"""Mixtures: shares as the weights say, and otherwise a stream like any other."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from typing import Any

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import Mixture, Stream, mix_streams
from t2i_shards.pipeline.stream.mixture import PERIOD, share
from t2i_shards.pipeline.stream.order import BlockOrder, SampleIndices
from t2i_shards.pipeline.stream.verified import OpenedShard
from tests.pipeline.stream.test_buckets import bucket_stream
from tests.pipeline.stream.toys import BATCH, WORLDS, MemoryShards, name, run_world

STEPS = range(3 * PERIOD // BATCH)


class Named(MemoryShards):
    """Shards whose samples say of which dataset they are, though their keys do not."""

    def __init__(self, dataset: bytes, shards: int, gone: frozenset[int] = frozenset()) -> None:
        super().__init__(dict.fromkeys(range(shards), 3), gone)
        self._dataset = dataset
        self.digest = dataset.hex()

    def open(self, shard: int) -> OpenedShard:
        keys = super().open(shard).keys
        return OpenedShard(keys, lambda index: Sample(keys[index], {"jpg": self._dataset}))


def stream_of(dataset: bytes, shards: int, **options: Any) -> Stream:
    named = Named(dataset, shards, **options)
    return Stream(named, BlockOrder(1, SampleIndices(named.counts(), frozenset())), skip_damaged=1)  # type: ignore[arg-type]


def mixture(seed: int = 3) -> Mixture:
    streams = [stream_of(b"A", 23), stream_of(b"B", 40), stream_of(b"C", 5, gone=frozenset({2}))]
    return mix_streams(streams, [0.5, 0.3, 0.2], seed)


def tell(sample: Sample, epoch: int, *_: object) -> tuple[bytes, str, int]:
    if sum(map(ord, sample.key)) % 7 == 0:
        raise ValueError("bad")
    return bytes(sample.members["jpg"]), sample.key, epoch


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ([1], [1000]),
        ([0.5, 0.3, 0.2], [500, 300, 200]),
        ([1, 1, 1], [334, 333, 333]),
        ([2, 1], [667, 333]),
        ([1, 1, 4], [167, 167, 666]),
        ([1e9, 2e9, 4e9], [143, 286, 571]),
        ([0.1] * 10, [100] * 10),
    ],
)
def test_shares_by_largest_remainder(weights: list[float], counts: list[int]) -> None:
    assert share(weights) == counts


def test_every_period_has_each_dataset_as_often_as_it_weighs() -> None:
    mixed = mixture()
    periods = [[mixed.place(p)[0] for p in range(period * PERIOD, (period + 1) * PERIOD)] for period in range(3)]
    for period in periods:
        assert Counter(period) == {0: 500, 1: 300, 2: 200}
        assert max(len(list(run)) for _, run in itertools.groupby(period)) < 30, "mixed, not one after the other"
    assert periods[0] != periods[1]
    assert periods[0] != [mixture(seed=4).place(p)[0] for p in range(PERIOD)]


def test_the_pattern_will_not_change_with_a_release() -> None:
    """Golden: a training that is resumed months later must get the same datasets."""
    assert (
        "".join("ABC"[mixture().place(position)[0]] for position in range(30)) == "AABAABCBBAABAABCBBAACACBBACABA"
    )


def test_the_position_in_a_dataset_is_how_often_it_occurred_before() -> None:
    mixed = mixture()
    stood = Counter[int]()
    for position in range(3 * PERIOD):
        dataset, own = mixed.place(position)
        assert own == stood[dataset]
        stood[dataset] += 1
    # Found directly, whatever was asked before.
    assert mixed.place(10**9 * PERIOD)[1] == 10**9 * share([0.5, 0.3, 0.2])[mixed.place(10**9 * PERIOD)[0]]
    assert [mixture().place(p) for p in (2500, 3, 999)] == [mixed.place(p) for p in (2500, 3, 999)]


def test_each_dataset_goes_through_its_own_epochs() -> None:
    mixed = mixture()
    got = [made for _, made in mixed.take(range(3 * PERIOD), tell_any)]
    alone = {b"A": stream_of(b"A", 23), b"B": stream_of(b"B", 40)}
    for dataset, stream in alone.items():
        own = [(key, epoch) for data, key, epoch in got if data == dataset]
        assert {epoch for _, epoch in own} > {0, 1}
        assert own == [made for _, made in stream.take(range(len(own)), name)]
    assert len(mixed) == 69 + 120 + 15


def tell_any(sample: Sample, epoch: int, *_: object) -> tuple[bytes, str, int]:
    return bytes(sample.members["jpg"]), *name(sample, epoch)


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_takes_the_same_sequence(world: tuple[int, int]) -> None:
    expected, (alone,) = run_world(mixture, STEPS, (1, 0), tell)
    got, _ = run_world(mixture, STEPS, world, tell)
    assert got == expected
    assert [position for position, _ in got] == list(range(len(STEPS) * BATCH))
    assert [stream._skipped for stream in alone._streams] == [set(), set(), {2}]


@pytest.mark.parametrize("position", [0, 1, 68, 999, 1000, 1001, 2500])
def test_resuming_at_any_position_changes_nothing(position: int) -> None:
    whole = list(mixture().take(range(3 * PERIOD), tell))
    assert len(whole) == 3 * PERIOD
    copy = pickle.loads(pickle.dumps(mixture()))  # noqa: S301  (as a loader sends it to its workers)
    assert list(copy.take(range(position, 3 * PERIOD), tell)) == whole[position:]


def test_held_out_samples_are_of_each_dataset_and_never_come_again() -> None:
    mixed, held_out = mixture().hold_out(20)
    first = [mixture().place(position)[0] for position in range(20)]
    told = [tell_any(sample, 0)[:2] for sample in held_out]
    # A shard of C is gone, so those of its samples cannot be shown.
    assert Counter(data for data, _ in told)[b"A"] == first.count(0)
    assert Counter(data for data, _ in told)[b"B"] == first.count(1)
    assert 0 < Counter(data for data, _ in told)[b"C"] <= first.count(2)
    assert len(mixed) == len(mixture()) - 20
    got = {made[:2] for _, made in mixed.take(range(2 * PERIOD), tell_any)}
    assert len(got) > 100
    assert not got & set(told)
    assert [mixed.place(p)[0] for p in range(2000)] == [mixture().place(p)[0] for p in range(2000)]
    assert mixed.digest != mixture().digest


def test_an_epoch_from_a_position_on() -> None:
    keys = [sample.key for sample in mixture().samples(1)]
    assert len(keys) == len(mixture())
    assert [sample.key for sample in mixture().samples(1, 50)] == keys[50:]


def test_buckets_come_batch_by_batch_from_one_dataset() -> None:
    mixed = mix_streams([bucket_stream(), bucket_stream()], [2, 1], seed=1)
    assert mixed.batch == BATCH
    shapes = dict(mixed.take(range(200 * BATCH), lambda sample, epoch, shape: shape))
    for step in range(200):
        positions = range(step * BATCH, (step + 1) * BATCH)
        samples = [mixed.place(position) for position in positions]
        dataset, first = samples[0]
        assert samples == [(dataset, first + i) for i in range(BATCH)]
        assert first % BATCH == 0
        assert len({shapes[position] for position in positions}) == 1
    stood = Counter(mixed.place(step * BATCH)[0] for step in range(PERIOD))
    assert stood == {0: 667, 1: 333}


def test_requests_that_cannot_be_met() -> None:
    two = [stream_of(b"A", 5), stream_of(b"B", 5)]
    for weights in ([1], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")]):
        with pytest.raises(RequestError, match="a mixture needs a positive weight for each of 2 datasets, not"):
            mix_streams(two, weights)
    with pytest.raises(RequestError, match="each dataset must have at least 1/1000 of the weight, and these are"):
        mix_streams(two, [1, 1e-4])
    with pytest.raises(RequestError, match=r"the datasets of a mixture must have one batch size, not \[1, 8\]"):
        mix_streams([stream_of(b"A", 5), bucket_stream()], [1, 1])


def test_its_digest_is_of_the_datasets_and_their_shares() -> None:
    streams = [stream_of(b"A", 5), stream_of(b"B", 5)]
    digests = {mix_streams(streams, weights).digest for weights in ([1, 1], [2, 2], [1, 2])}
    assert len(digests | {mix_streams(streams[::-1], [1, 1]).digest}) == 3


def test_the_short_side_is_that_of_the_smallest_pictures() -> None:
    def streams(*sides: int | None) -> list[Stream]:
        found = [stream_of(b"a", 3) for _ in sides]
        for stream, side in zip(found, sides, strict=True):
            stream.short_side = side
        return found

    assert mix_streams(streams(512, 256, 384), (1, 1, 1)).short_side == 256
    assert mix_streams(streams(512, None), (1, 1)).short_side is None
    rest, _ = mix_streams(streams(512, 256), (1, 1)).hold_out(2)
    assert rest.short_side == 256
