"""Taking positions: the same samples at the same positions for every world, from any point on."""

from __future__ import annotations

import itertools
import pickle
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stream import Stream
from t2i_shards.pipeline.stream.shards import ShardPrefetcher
from t2i_shards.pipeline.stream.verified import OpenedShard
from tests.pipeline.stream.toys import BATCH, WORLDS, epochs, memory_stream, name, run_world

EPOCHS = 3
STEPS = range(EPOCHS * 23 * 3 // BATCH)


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_takes_the_same_sequence(world: tuple[int, int]) -> None:
    """Sparse slices of each global batch, as ranks and workers take them, in order and with their epochs."""
    expected = list(memory_stream().take(range(len(STEPS) * BATCH), name))
    assert [position for position, _ in expected] == list(range(len(STEPS) * BATCH))
    assert run_world(memory_stream, STEPS, world)[0] == expected


def test_every_sample_once_in_each_epoch() -> None:
    orders = list(epochs(memory_stream(), EPOCHS))
    keys = [f"s{shard:02d}-{i:02d}" for shard in range(23) for i in range(3)]
    for number, order in enumerate(orders):
        assert sorted(key for key, _ in order) == keys
        assert {epoch for _, epoch in order} == {number}
    assert len({tuple(key for key, _ in order) for order in orders}) == EPOCHS


def test_stopping_and_resuming_at_any_position_changes_nothing() -> None:
    end = EPOCHS * 23 * 3
    whole = list(memory_stream().take(range(end), name))
    for position in range(end):
        assert list(memory_stream().take(range(position, end), name)) == whole[position:]


def test_the_end_of_a_run_is_the_beginning_of_the_next_with_another_world() -> None:
    whole = list(memory_stream().take(range(len(STEPS) * BATCH), name))
    for number, (before, after) in enumerate(zip(WORLDS * 2, WORLDS[4:] + WORLDS + WORLDS[:4], strict=True)):
        at = 1 + number % (len(STEPS) - 1)
        first, _ = run_world(memory_stream, STEPS[:at], before)
        then, _ = run_world(memory_stream, STEPS[at:], after)
        assert first + then == whole


def test_positions_are_asked_for_one_by_one() -> None:
    asked: list[int] = []

    def positions() -> Iterator[int]:
        for position in itertools.count(5, 3):
            asked.append(position)
            yield position

    taken = memory_stream().take(positions(), name)
    for number in range(1, 60):
        next(taken)
        assert len(asked) == number


def test_a_position_before_the_last_one_is_opened_again() -> None:
    whole = dict(memory_stream().take(range(200), name))
    assert list(memory_stream().take([150, 3, 199, 0], name)) == [(p, whole[p]) for p in (150, 3, 199, 0)]


def test_a_stream_travels_to_another_process() -> None:
    stream = memory_stream()
    expected = list(stream.take(range(100), name))
    copy = pickle.loads(pickle.dumps(stream))  # noqa: S301  (as a loader sends it to its workers)
    assert list(copy.take(range(100), name)) == expected
    assert (copy.digest, len(copy)) == (stream.digest, len(stream))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The shards whose opening was begun."""
    shards: list[int] = []
    real = ShardPrefetcher.begin

    def note(prefetcher: ShardPrefetcher, wanted: Sequence[int]) -> None:
        shards.extend(wanted)
        real(prefetcher, wanted)

    monkeypatch.setattr(ShardPrefetcher, "begin", note)
    return shards


def test_at_most_two_blocks_are_open_and_the_next_comes_when_half_is_used(begun: list[int]) -> None:
    stream = memory_stream(60)
    shards: Any = stream._shards
    alive: weakref.WeakValueDictionary[int, OpenedShard] = weakref.WeakValueDictionary()
    real = shards.open

    def open_shard(shard: int) -> OpenedShard:
        alive[shard] = opened = real(shard)
        return opened

    shards.open = open_shard
    blocks = [stream.block(number * 30) for number in range(5)]
    assert {len(block.shards) for block in blocks} == {10}
    for position, _ in stream.take(itertools.count(), name):
        number, used = divmod(position, 30)
        if number == 4:
            break
        two = blocks[number].shards | (blocks[number + 1].shards if used >= 15 else set())
        assert set(begun) == set().union(*(block.shards for block in blocks[:number]), two)
        assert set(alive) <= two
        assert set(alive) >= blocks[number].shards
    assert max(Counter(shards.opened).values()) == 1


def test_nothing_is_opened_behind_the_end(begun: list[int]) -> None:
    stream = memory_stream(40)
    assert len(list(stream.take(range(25, 30), name))) == 5
    assert sorted(begun) == sorted(stream.block(29).shards)
    assert list(stream.take([], name)) == []


def test_an_epoch_from_a_position_on() -> None:
    stream = memory_stream()
    whole = [sample.key for sample in stream.samples(2)]
    assert [(key, 2) for key in whole] == list(epochs(stream, 3))[2]
    for start in (0, 1, 33, 34, 68, 69, 500):
        assert [sample.key for sample in stream.samples(2, start)] == whole[start:]


@pytest.mark.parametrize("count", [0, 1, 8, 40, 68])
def test_held_out_samples_are_the_first_and_never_come_again(count: int) -> None:
    whole = memory_stream()
    stream, held_out = whole.hold_out(count)
    assert isinstance(stream, Stream)
    assert [sample.key for sample in held_out] == [key for (key, _) in next(epochs(whole, 1))][:count]
    assert len(stream) == len(whole) - count
    left = {sample.key for sample in whole.samples(0)} - {sample.key for sample in held_out}
    for order in epochs(stream, EPOCHS):
        assert sorted(key for key, _ in order) == sorted(left)
    assert (stream.digest == whole.digest) is (count == 0)


def test_every_world_takes_the_same_sequence_without_the_held_out() -> None:
    expected, _ = run_world(lambda: memory_stream().hold_out(5)[0], STEPS, (1, 0))
    for world in WORLDS:
        assert run_world(lambda: memory_stream().hold_out(5)[0], STEPS, world)[0] == expected


@pytest.mark.parametrize("count", [-1, 69, 70])
def test_some_samples_are_left(count: int) -> None:
    with pytest.raises(RequestError, match=rf"of 69 samples some must be left, and {count} are to be"):
        memory_stream().hold_out(count)
