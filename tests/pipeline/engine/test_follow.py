"""Roll-ups that a run makes as soon as its shards allow them: they come first, and are no shards."""

from __future__ import annotations

import pytest

from t2i_shards.pipeline.engine.pool import Event, Failure
from t2i_shards.pipeline.engine.run import drive
from t2i_shards.pipeline.stages.stage import StageResult
from tests.pipeline.engine.test_run import FAILED, FakePool


def test_what_a_shard_allows_is_done_next_and_counts_as_no_shard() -> None:
    pool, told, allowed = FakePool({2: [FAILED]}), list[int](), {1: [~0, ~1], 6: [~2]}
    result = drive(pool, range(7), lambda shard, _: told.append(shard), follow=lambda s: allowed.get(s, ()))
    # When shard 1 was made, the worker had shard 2 in hand.
    assert pool.handed == [0, 1, 2, ~1, ~0, 3, 4, 5, 6, 2, ~2]
    assert sorted(result.made) == sorted(told) == list(range(7))
    assert (result.attempts, result.problems) == ({2: 1}, [])


@pytest.mark.parametrize("kind", ["shard", "death", "setup", "request", "run"])
def test_one_that_fails_leaves_the_run_whole(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    failure = Failure(kind, "because")  # type: ignore[arg-type]
    pool = FakePool({~0: [None, None, failure, failure]})
    result = drive(pool, range(4), follow=lambda shard: [~0] if shard == 1 else [])
    assert sorted(result.made) == list(range(4))
    assert pool.handed.count(~0) == 3, "it was handed back twice, and tried once"
    assert (result.attempts, result.deaths, result.setups, result.problems) == ({}, set(), 0, [])
    assert caplog.messages == ["a roll-up is left for the end of the run: because"]


def test_second_copies_of_a_shard_allow_nothing_twice() -> None:
    class Late(FakePool):
        """Shard 1 is late, so that it is begun again; then both copies are made. So with what it allows."""

        free = idle = True
        now = 0.0

        def wait(self) -> list[Event]:
            self.now += 40.0
            late = next((shard for shard in (1, ~0) if self.handed.count(shard) == 2 and shard in self.held), None)
            if late is None:
                return [Event(self.held.popleft(), StageResult())] if 0 in self.held else []
            self.held.clear()
            return [Event(late, StageResult())] * 2

    pool, asked = Late({}), list[int]()

    def follow(shard: int) -> list[int]:
        asked.append(shard)
        return [~0] if shard == 1 else []

    result = drive(pool, range(2), clock=lambda: pool.now, follow=follow)
    assert (asked, sorted(result.made)) == ([0, 1], [0, 1])
    assert sorted(pool.handed) == [~0, ~0, 0, 1, 1]
