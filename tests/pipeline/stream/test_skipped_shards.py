"""Shards that are damaged or gone: they stop the stream, or so many of them are skipped and named."""

from __future__ import annotations

import pytest

from t2i_shards.pipeline.errors import BrokenStage, DamagedShard
from t2i_shards.pipeline.stream import Stream
from tests.pipeline.stream.toys import BATCH, WORLDS, memory_stream, name, run_world

GONE = frozenset({4, 17})
STEPS = range(3 * 69 // BATCH)


def lacking() -> Stream:
    return memory_stream(gone=GONE, quota=2)


def test_a_shard_that_is_gone_stops_the_stream_before_its_block() -> None:
    stream = memory_stream(gone=frozenset({4}))
    got = []
    with pytest.raises(DamagedShard, match=r"^images/000004\.tar: has a receipt, but the file is gone$"):
        got += list(stream.take(range(10**9), name))
    first = next(block for block in map(stream.block, range(10**6)) if 4 in block.shards).first
    assert got == list(memory_stream().take(range(first), name))
    assert not stream._skipped


def test_a_quota_skips_it_and_says_which(caplog: pytest.LogCaptureFixture) -> None:
    stream = lacking()
    taken = list(stream.take(range(3 * 69), name))
    whole = list(memory_stream().take(range(3 * 69), name))
    assert [position for position, _ in taken] == list(range(3 * 69))
    for (position, (key, epoch)), (_, (own, _)) in zip(taken, whole, strict=True):
        if own[:3] not in ("s04", "s17"):
            assert key == own, "the others stay where they were"
            continue
        block = stream.block(position)
        keys = [f"s{shard:02d}-{index:02d}" for shard, index in block.samples]
        at = position - block.first
        assert key == next(k for k in keys[at:] + keys[:at] if k[:3] not in ("s04", "s17"))
        assert epoch == block.epoch
    assert sorted(message.rpartition(": images")[2] for message in caplog.messages) == [
        f"/{shard:06d}.tar: has a receipt, but the file is gone" for shard in sorted(GONE)
    ]
    assert "a damaged shard is skipped, 2 of at most 2: " in caplog.messages[1]


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_skips_alike(world: tuple[int, int]) -> None:
    expected, (alone,) = run_world(lacking, STEPS, (1, 0))
    assert alone._skipped == GONE
    assert run_world(lacking, STEPS, world)[0] == expected


def test_more_than_the_quota_stop_the_stream() -> None:
    stream = memory_stream(gone=GONE | {9}, quota=2)
    with pytest.raises(DamagedShard, match="2 damaged shards skipped, and no more may be skipped"):
        list(stream.take(range(69), name))
    assert len(stream._skipped) == 2


def test_a_skipped_shard_is_not_asked_for_again() -> None:
    stream = lacking()
    list(stream.take(range(3 * 69), name))
    opened: list[int] = stream._shards.opened  # type: ignore[attr-defined]
    assert [opened.count(shard) for shard in sorted(GONE)] == [1, 1]


def test_a_block_of_skipped_shards_alone_stops_the_stream() -> None:
    stream = memory_stream(2, gone=frozenset({0, 1}), quota=5)
    with pytest.raises(BrokenStage, match="no sample of a block of 6 could be used: all its shards were skipped"):
        next(stream.take(range(6), name))


def test_held_out_samples_do_not_depend_on_what_is_skipped() -> None:
    """Those of a skipped shard are held out unseen; no other takes their place."""
    whole, held_out = memory_stream().hold_out(30)
    there, seen = lacking().hold_out(30)
    assert [s.key for s in seen] == [s.key for s in held_out if s.key[:3] not in ("s04", "s17")]
    assert len(seen) < 30
    assert there.digest == whole.digest
    assert there.block(0) == whole.block(0)
    assert there._skipped == {4}
