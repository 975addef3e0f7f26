"""Second copies of late shards: only where there is nothing else to do, and the first that is made counts."""

from __future__ import annotations

import pytest

from t2i_shards.pipeline.engine.running import COPIES, LATE, Running


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begin(clock: Clock, *shards: int) -> Running:
    """Shards under way since 0, after one that took 40 s."""
    running = Running(clock)
    running.begin(99)
    clock.now = 40.0
    assert running.end(99, made=True)
    clock.now = 0.0
    for shard in shards:
        running.begin(shard)
    return running


def test_a_shard_is_late_when_it_took_longer_than_the_others(clock: Clock) -> None:
    running = begin(clock, 1, 2)
    clock.now = 39.9
    assert running.find_straggler() is None
    clock.now = 40.0
    assert running.find_straggler() == 1
    running.begin(1)
    assert running.find_straggler() == 2
    running.begin(2)
    assert running.find_straggler() is None


def test_a_shard_that_waited_behind_another_is_timed_from_when_a_worker_begins_it(clock: Clock) -> None:
    running = begin(clock, 1, 2)
    clock.now = 35.0
    running.start_clock(2)
    clock.now = 74.9
    assert running.find_straggler() == 1
    running.begin(1)
    assert running.find_straggler() is None
    clock.now = 75.0
    assert running.find_straggler() == 2
    # The average is of the time at work: 40 s for the first, 40 s for this one.
    assert running.end(2, made=True)
    running.begin(3)
    clock.now = 75.0 + 40.0
    assert running.find_straggler() == 1
    running.begin(1)
    assert running.find_straggler() == 3


def test_a_worker_that_begins_what_is_done_or_begun_elsewhere_changes_nothing(clock: Clock) -> None:
    running = begin(clock, 1)
    clock.now = 40.0
    running.begin(1)
    clock.now = 70.0
    running.start_clock(1)
    clock.now = 80.0
    assert running.find_straggler() == 1
    assert running.end(1, made=True)
    running.start_clock(1)
    assert not running


def test_a_shard_whose_second_copy_is_late_has_a_third_and_no_more(clock: Clock) -> None:
    running = begin(clock, 1)
    for copy in range(1, COPIES):
        clock.now = 40.0 * copy
        assert running.find_straggler() == 1
        running.begin(1)
        assert running.find_straggler() is None
    clock.now = 1e6
    assert running.find_straggler() is None
    assert not running.end(1, made=False)
    clock.now += 40.0
    assert running.find_straggler() == 1, "where one has failed, another may begin"


def test_nothing_is_late_within_half_a_minute_or_before_anything_was_made(clock: Clock) -> None:
    running = Running(clock)
    running.begin(1)
    clock.now = 1e6
    assert running.find_straggler() is None
    running.begin(2)
    assert running.end(2, made=True)
    assert running.find_straggler() == 1
    running.begin(3)
    running.end(1, made=True)
    clock.now += LATE - 0.1
    assert running.find_straggler() is None


def test_the_first_copy_that_is_made_counts_and_the_other_does_not(clock: Clock) -> None:
    running = begin(clock, 1)
    running.begin(1)
    assert running.end(1, made=True)
    assert not running
    assert not running.end(1, made=True)
    assert not running


def test_a_copy_that_fails_counts_when_no_other_is_under_way(clock: Clock) -> None:
    running = begin(clock, 1)
    running.begin(1)
    assert not running.end(1, made=False)
    assert running
    assert running.end(1, made=False)
    assert not running
    running.begin(1)
    assert running.end(1, made=True), "tried again, it counts"


def test_the_result_of_a_late_copy_is_ignored(clock: Clock) -> None:
    running = begin(clock, 1)
    running.begin(1)
    assert running.end(1, made=True)
    assert not running.end(1, made=False)
