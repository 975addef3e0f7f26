"""The agent of a node: workers take shards in turn, results are reported together, a death charges one shard."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from t2i_shards.pipeline.engine import agent
from t2i_shards.pipeline.engine.agent import TELL_EVERY, NodeAgent
from t2i_shards.pipeline.engine.pool import Failure
from t2i_shards.pipeline.stages.stage import StageResult


class Hands:
    """What an actor's handle looks like to the agent; a shard is done when the test says so."""

    def __init__(self) -> None:
        self.run = self
        self.at: tuple[int, bool] | None = None
        self._done: asyncio.Future[Any] = asyncio.Future()

    async def remote(self, shard: int, careful: bool) -> Any:
        assert self.at is None, "one at a time"
        self.at = shard, careful
        return await self._done

    async def finish(self, died: bool = False) -> None:
        assert self.at is not None
        done, self._done, self.at = self._done, asyncio.Future(), None
        done.set_exception(RayActorError()) if died else done.set_result(StageResult())
        await breathe()


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a test may take longer than PATIENCE."""
    monkeypatch.setattr(agent, "PATIENCE", 1e6)


async def breathe() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def begin(workers: int, shards: int, grace: float = 0.0) -> tuple[NodeAgent, list[Hands]]:
    node, hands = NodeAgent(grace), [Hands() for _ in range(workers)]
    for number, worker in enumerate(hands):
        await node.adopt(number, worker)
    await breathe()
    await node.lease([(shard, shard == 3) for shard in range(shards)])
    await breathe()
    return node, hands


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_a_shard_is_given_to_one_worker_and_the_next_to_the_first_that_is_free() -> None:
    async def test() -> None:
        node, (one, two) = await begin(2, 4)
        assert (one.at, two.at) == ((0, False), (1, False))
        await two.finish()
        assert (one.at, two.at) == ((0, False), (2, False))
        await two.finish()
        assert (one.at, two.at) == ((0, False), (3, True))
        await one.finish()
        await two.finish()
        events, dead, begun, *_ = await node.report()
        assert ([event.shard for event in events], dead) == ([1, 2, 0, 3], [])
        assert begun == [2, 3], "0 and 1 were begun when they came"

    run(test())


def test_results_are_gathered_while_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "BATCH", 1e6)

    async def test() -> None:
        node, (one,) = await begin(1, 4)
        report = asyncio.ensure_future(node.report())
        await one.finish()
        assert not report.done(), "shards still wait"
        await one.finish()
        assert not report.done(), "a shard still waits"
        await one.finish()
        # None waits: the driver hears of it while the last is under way, and can send more before it ends.
        assert one.at == (3, True)
        assert [event.shard for event in (await report)[0]] == [0, 1, 2]
        report = asyncio.ensure_future(node.report())
        await breathe()
        assert not report.done()
        await one.finish()
        assert [event.shard for event in (await report)[0]] == [3]

    run(test())


def test_the_driver_hears_at_once_where_a_worker_has_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "BATCH", 1e6)

    async def test() -> None:
        node, (one, two) = await begin(2, 2)
        await one.finish()
        await node.lease([(2, False)])  # it was sent before the driver heard of the end of shard 0
        await two.finish()
        events, _, begun, *_ = await node.report()
        assert ([event.shard for event in events], begun) == ([0, 1], [])

    run(test())


def test_results_are_not_gathered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "BATCH", 0.01)

    async def test() -> None:
        node, (one,) = await begin(1, 3)
        await one.finish()
        assert [event.shard for event in (await node.report())[0]] == [0]

    run(test())


def test_a_death_charges_the_shard_at_work_and_leaves_the_others_to_other_workers() -> None:
    async def test() -> None:
        node, (one, two) = await begin(2, 3)
        await one.finish(died=True)
        await two.finish()
        await two.finish()
        events, dead, *_ = await node.report()
        assert dead == [0]
        assert {event.shard: event.result for event in events} == {
            0: Failure("death", "the worker died (RayActorError)"),
            1: StageResult(),
            2: StageResult(),
        }
        await node.lease([(5, False)])
        await breathe()
        assert (one.at, two.at) == (None, (5, False)), "the dead one is given nothing"

    run(test())


def test_a_death_is_told_only_when_the_node_has_outlived_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "BATCH", 0.0)

    async def test() -> None:
        node, (one, _) = await begin(2, 2, grace=1e6)
        await one.finish(died=True)
        report = asyncio.ensure_future(node.report())
        await breathe()
        assert not report.done()

    run(test())


def test_without_a_worker_shards_go_back_uncharged_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "BATCH", 1e6)

    async def test() -> None:
        node, (one,) = await begin(1, 3)
        await one.finish(died=True)
        events, dead, *_ = await node.report()
        assert [(event.shard, event.result is None) for event in events] == [(0, False), (1, True), (2, True)]
        assert dead == [0]
        await node.lease([(4, False)])
        [event], *_ = await node.report()
        assert (event.shard, event.result) == (4, None)

    run(test())


def test_a_report_says_how_long_a_shard_took_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(agent, "time", SimpleNamespace(monotonic=lambda: clock.now))

    async def test() -> None:
        node, (one,) = await begin(1, 3)
        for took in (1.0, 3.0):
            clock.now += took
            await one.finish()
        assert (await node.report())[3] == 2.0
        clock.now += 0.5
        await one.finish()
        assert (await node.report())[3] == 0.5

    run(test())


def test_a_report_says_how_far_the_shards_under_way_are(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(agent, "time", SimpleNamespace(monotonic=lambda: clock.now))

    async def test() -> None:
        node, (one, _) = await begin(2, 2)
        await node.count(0, 10)
        assert await node.report() == ([], [], [], 0.0, 10), "the first at once"
        report = asyncio.ensure_future(node.report())
        for number, samples in ((1, 20), (0, 30)):
            await node.count(number, samples)
        await breathe()
        assert not report.done(), "the driver is not told of each number"
        clock.now += TELL_EVERY
        await node.count(1, 40)
        assert await report == ([], [], [], 0.0, 70)
        await one.finish()
        await node.count(0, 50)  # sent before the result, and late
        assert (await node.report())[-1] == 40, "what is done is no longer under way"

    run(test())


def test_shards_that_would_wait_long_go_back_uncharged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PATIENCE", 0.01)
    monkeypatch.setattr(agent, "BATCH", 1e6)

    async def test() -> None:
        node, (one, two) = await begin(2, 9)
        events, dead, _, pace, _ = await node.report()
        assert [(event.shard, event.result) for event in events] == [(shard, None) for shard in range(2, 7)]
        assert (dead, pace) == ([], math.inf)
        assert (one.at, two.at) == ((0, False), (1, False))
        for worker in (one, two, one, two):
            await worker.finish()
        events, *_ = await node.report()
        assert [event.shard for event in events] == [0, 1, 7, 8], "each worker has kept its next one"

    run(test())
