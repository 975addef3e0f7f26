"""Samples that cannot be used are replaced by another of their block, the same one for any number of ranks."""

from __future__ import annotations

from typing import Any

import pytest

from t2i_shards.pipeline.errors import BrokenStage, DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import Stream
from tests.pipeline.stream.toys import BATCH, WORLDS, memory_stream, name, run_world

STEPS = range(3 * 69 // BATCH)


def is_bad(key: str) -> bool:
    """A third of all; the samples of s05 and s06, all of them."""
    return sum(map(ord, key)) % 3 == 0 or key[:3] in ("s05", "s06")


def picky(sample: Sample, epoch: int, *_: object) -> tuple[str, int]:
    if is_bad(sample.key):
        raise ValueError(f"{sample.key} is\nbroken")
    return name(sample, epoch)


def expected_of(stream: Stream, position: int) -> tuple[str, int]:
    """The rule, written a second time: the next good one of the block, cyclically."""
    block = stream.block(position)
    keys = [f"s{shard:02d}-{index:02d}" for shard, index in block.samples]
    own = position - block.first
    return next(key for key in keys[own:] + keys[:own] if not is_bad(key)), block.epoch


def test_a_bad_sample_is_replaced_by_the_next_good_one_of_its_block() -> None:
    stream = memory_stream()
    taken = list(stream.take(range(3 * 69), picky))
    assert taken == [(position, expected_of(memory_stream(), position)) for position in range(3 * 69)]
    own = list(memory_stream().take(range(3 * 69), name))
    bad = [position for position, (key, _) in own if is_bad(key)]
    # Some are at the end of their block, so that the search wrapped around.
    assert any(all(is_bad(key) for _, (key, _) in own[p : stream.block(p).stop]) for p in bad)


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_replaces_the_same(world: tuple[int, int]) -> None:
    expected, _ = run_world(memory_stream, STEPS, (1, 0), picky)
    assert run_world(memory_stream, STEPS, world, picky)[0] == expected
    assert run_world(memory_stream, STEPS, (1, 0))[0] != expected


def test_a_bad_sample_is_tried_once_in_a_block_and_named(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[tuple[str, int]] = []

    def note(sample: Sample, epoch: int, *_: object) -> Any:
        if is_bad(sample.key):
            tried.append(name(sample, epoch))
        return picky(sample, epoch)

    list(memory_stream().take(range(69), note))
    assert len(set(tried)) == len(tried) == sum(is_bad(f"s{s:02d}-{i:02d}") for s in range(23) for i in range(3))
    said = "a sample could not be used, another replaces it: s05-01: ValueError: s05-01 is broken"
    assert said in caplog.messages
    assert len(caplog.messages) == len(tried)


@pytest.mark.parametrize("error", [IncompleteError, RequestError, DamagedShard, MemoryError])
def test_what_is_not_the_samples_fault_is_raised(error: type[Exception]) -> None:
    def broken(sample: Sample, epoch: int, *_: object) -> None:
        raise error("this run cannot go on")

    stream = memory_stream()
    with pytest.raises(error, match="this run cannot go on"):
        next(stream.take(range(5), broken))


def run_of_bad(length: int, position: int) -> Any:
    """A `make` that fails on the sample at `position` and on the next ones of its block."""
    stream = memory_stream(10, 30)
    block = stream.block(position)
    run = {block.samples[i % 300] for i in range(position, position + length)}
    keys = {f"s{shard:02d}-{index:02d}" for shard, index in run}

    def make(sample: Sample, epoch: int, *_: object) -> str:
        if sample.key in keys:
            raise OSError(f"cannot read {sample.key}")
        return sample.key

    return make


@pytest.mark.parametrize("position", [0, 150, 250])
def test_a_hundred_in_a_row_stop_the_stream_and_one_less_does_not(position: int) -> None:
    assert len(list(memory_stream(10, 30).take(range(300), run_of_bad(99, position)))) == 300
    taken = memory_stream(10, 30).take(range(300), run_of_bad(100, position))
    with pytest.raises(BrokenStage, match=r"100 samples in a row could not be used.*; the last: s.*: OSError: ca"):
        list(taken)


@pytest.mark.parametrize("world", WORLDS)
def test_a_hundred_in_a_row_stop_every_world(world: tuple[int, int]) -> None:
    with pytest.raises(BrokenStage, match="100 samples in a row"):
        run_world(lambda: memory_stream(10, 30), range(300 // BATCH), world, run_of_bad(100, 120))


def test_a_block_without_a_good_sample_stops_the_stream() -> None:
    def hopeless(sample: Sample, epoch: int, *_: object) -> None:
        raise ValueError("no")

    with pytest.raises(
        BrokenStage, match=r"no sample of a block of 9 could be used; the last: s.*: ValueError: no"
    ):
        next(memory_stream(3).take(range(9), hopeless))
