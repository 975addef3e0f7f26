"""Leases: which node is given a shard, what a lost node or worker costs, how many workers there are."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from t2i_shards.pipeline.engine import leases
from t2i_shards.pipeline.engine.cluster import Lease, Message, NodeLost, NotStarted, Report, Started
from t2i_shards.pipeline.engine.leases import RESIZE_EVERY, SETTLE, SPARE, STARTS, WARN_EVERY, LeasePool
from t2i_shards.pipeline.engine.pool import IN_FLIGHT, Event, Failure
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.stages.stage import StageResult

DIED = Failure("death", "the worker died")


class Told:
    """A cluster that the test controls, with a clock of its own."""

    def __init__(self, slots: int) -> None:
        self.slots, self.now = slots, 0.0
        self.started: list[int] = []
        self.stopped: list[int] = []
        self.leased: dict[str, list[int]] = {}
        self.careful: list[int] = []
        self.news: list[Message] = []
        self.closed = False

    def clock(self) -> float:
        return self.now

    def count_slots(self) -> int:
        return self.slots

    def start(self, worker: int) -> None:
        self.started.append(worker)

    def stop(self, worker: int) -> None:
        self.stopped.append(worker)

    def lease(self, node: str, shards: Lease) -> None:
        self.leased.setdefault(node, []).extend(shard for shard, _ in shards)
        self.careful += [shard for shard, careful in shards if careful]

    def wait(self, seconds: float) -> Sequence[Message]:
        news, self.news = self.news, []
        return news

    def close(self) -> None:
        self.closed = True


def hear(cluster: Told, pool: LeasePool, *news: Message) -> list[tuple[int, bool | None]]:
    """The pool's events for these reports: (shard, what was made, or None where it was given back)."""
    cluster.news += news
    return [(of.shard, of.result and isinstance(of.result, StageResult)) for of in pool.wait()]


def begin(cluster: Told, *nodes: str, most: int = 100) -> LeasePool:
    """A pool with a worker up on each of these nodes, in this order, and no room for another."""
    pool = LeasePool(cluster, most, asked=False, clock=cluster.clock)
    hear(cluster, pool, *(Started(worker, node) for worker, node in enumerate(nodes)))
    return pool


def fill(pool: LeasePool) -> int:
    """How many shards it takes, numbered from 0."""
    shards = 0
    while pool.free:
        pool.submit(shards)
        shards += 1
    return shards


def test_every_worker_is_given_one_shard_before_any_is_given_two() -> None:
    cluster = Told(3)
    pool = begin(cluster, "a", "a", "b")
    for shard in range(3):
        assert pool.idle
        pool.submit(shard)
    assert not pool.idle
    hear(cluster, pool)
    assert sorted(map(len, cluster.leased.values())) == [1, 2]
    assert len(cluster.leased["a"]) == 2
    assert 3 + fill(pool) == 3 * IN_FLIGHT


def test_while_workers_start_none_is_given_a_second_shard_so_that_they_find_work() -> None:
    cluster = Told(3)
    pool = LeasePool(cluster, 100, clock=cluster.clock)
    assert not pool.free
    hear(cluster, pool, Started(0, "a"), Started(1, "a"))
    assert fill(pool) == 2
    hear(cluster, pool, Started(2, "b"))
    assert 2 + fill(pool) == 3 * IN_FLIGHT


def test_a_worker_that_finds_no_room_keeps_shards_from_others_for_a_minute_at_most() -> None:
    cluster = Told(2)
    pool = LeasePool(cluster, 100, clock=cluster.clock)
    hear(cluster, pool, Started(0, "a"))
    assert fill(pool) == 1
    cluster.now = SETTLE + 1
    hear(cluster, pool)
    assert 1 + fill(pool) == IN_FLIGHT


def test_samples_under_way_are_those_of_the_nodes_that_are_there() -> None:
    cluster = Told(2)
    pool = begin(cluster, "a", "b")
    fill(pool)
    hear(cluster, pool, Report("a", [], under_way=5), Report("b", [], under_way=7))
    assert pool.under_way == 12
    hear(cluster, pool, Report("a", [], under_way=3))
    assert pool.under_way == 10
    hear(cluster, pool, NodeLost("b"))
    assert pool.under_way == 3


def test_what_a_lost_node_had_not_reported_goes_back_uncharged() -> None:
    cluster = Told(3)
    pool = begin(cluster, "a", "a", "b")
    taken = fill(pool)
    assert hear(cluster, pool) == []
    first, *others = cluster.leased["a"]
    assert hear(cluster, pool, Report("a", [Event(first, StageResult())])) == [(first, True)]
    pool.submit(taken)
    back = hear(cluster, pool, NodeLost("a"))
    assert back == [(shard, None) for shard in [*others, taken]]
    assert set(cluster.stopped) == {0, 1}
    assert not pool.free, "node b has what it can hold"
    assert hear(cluster, pool, NodeLost("never seen")) == []


def test_only_the_shard_over_which_a_worker_died_is_charged() -> None:
    cluster = Told(2)
    pool = begin(cluster, "a", "a")
    assert fill(pool) == 4
    assert hear(cluster, pool, Report("a", [Event(1, DIED)], [0])) == [(1, False)]
    assert cluster.stopped == [0]
    assert len(cluster.started) == len(set(cluster.started)) == 5, "two were up, two waited, one took its place"
    # Three shards are left in the hands of the one worker: it is given none till it has less than two.
    assert not pool.free
    assert hear(cluster, pool, Report("a", [Event(shard, StageResult()) for shard in (0, 2)])) != []
    assert pool.free
    pool.submit(1, careful=True)
    hear(cluster, pool)
    assert cluster.careful == [1]


def test_shards_that_waited_on_their_node_are_told_when_they_begin() -> None:
    cluster = Told(1)
    pool = begin(cluster, "a")
    fill(pool)
    hear(cluster, pool)
    assert pool.begun == []
    hear(cluster, pool, Report("a", [Event(0, StageResult())], begun=[1]))
    assert pool.begun == [1]
    hear(cluster, pool)
    assert pool.begun == []


def test_a_second_copy_goes_to_another_node() -> None:
    cluster = Told(4)
    pool = begin(cluster, "a", "a", "b", "b")
    for shard in (7, 8, 7):  # it would be the turn of the node that has it
        pool.submit(shard)
    hear(cluster, pool)
    assert cluster.leased == {"a": [7], "b": [8, 7]}
    assert hear(cluster, pool, NodeLost("a")) == [(7, None)]
    assert hear(cluster, pool, Report("b", [Event(8, StageResult())])) == [(8, True)]
    pool.submit(7)  # where else?
    hear(cluster, pool)
    assert cluster.leased["b"] == [8, 7, 7]
    assert hear(cluster, pool, Report("b", [Event(7, DIED), Event(7, StageResult())])) == [(7, False), (7, True)]


@pytest.mark.parametrize(
    ("slots", "most", "asked", "workers"),
    [
        (4, 100, False, 8),  # as many again wait, which an autoscaler sees
        (4, 6, False, 6),
        (4, 3, False, 3),
        (4, 100, True, 100),  # somebody has said so
        (4, 3, True, 3),
        (0, 100, False, 1),
        (5000, 100_000, False, 5000 + SPARE),
    ],
)
def test_how_many_workers_there_are(slots: int, most: int, asked: bool, workers: int) -> None:
    cluster = Told(slots)
    LeasePool(cluster, most, asked, clock=cluster.clock)
    assert len(cluster.started) == workers


def test_workers_become_more_and_fewer_with_the_nodes() -> None:
    cluster = Told(2)
    pool = begin(cluster, "a", "a", most=20)
    assert len(cluster.started) == 4
    cluster.slots = 6
    hear(cluster, pool)
    assert len(cluster.started) == 4, "it looks every few seconds"
    cluster.now += RESIZE_EVERY
    hear(cluster, pool)
    assert len(cluster.started) == 12
    hear(cluster, pool, *(Started(worker, "b") for worker in (2, 3, 4, 5)))
    cluster.slots = 50
    cluster.now += RESIZE_EVERY
    hear(cluster, pool)
    assert len(cluster.started) == 20, "never more than that"
    cluster.slots = 2
    hear(cluster, pool, NodeLost("b"))  # at once
    left = set(cluster.started) - set(cluster.stopped)
    assert len(left) == 4
    assert {0, 1} <= left, "those at work are left alone"


def test_when_no_worker_can_start_the_run_ends() -> None:
    cluster = Told(2)
    pool = LeasePool(cluster, 9, asked=False, clock=cluster.clock)
    for _ in range(2 * STARTS - 1):
        hear(cluster, pool, NotStarted(cluster.started[-1], "no module"))
    hear(cluster, pool, Started(cluster.started[-1], "a"))
    for _ in range(2 * STARTS - 1):
        hear(cluster, pool, NotStarted(cluster.started[-1], "no module"))
    assert len(set(cluster.started) - set(cluster.stopped)) == 4
    with pytest.raises(IncompleteError, match=r"^no worker can start; the last died of: no module$"):
        hear(cluster, pool, NotStarted(cluster.started[-1], "no module"))


def test_waiting_for_room_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Told(1)
    pool = LeasePool(cluster, 1, needs="1 CPU", clock=cluster.clock)
    with caplog.at_level(logging.WARNING, leases.__name__):
        for seconds in range(0, int(2 * WARN_EVERY) + 10, 10):
            cluster.now = seconds
            hear(cluster, pool)
    assert caplog.messages == ["no worker runs: waiting for a node with 1 CPU to spare"]
    pool.close()
    assert cluster.closed


def test_a_node_of_short_shards_is_leased_more_until_they_become_long() -> None:
    cluster = Told(2)
    pool = begin(cluster, "a", "b")

    def report(shard: int, pace: float) -> int:
        """How many shards node a may hold after it made this one."""
        hear(cluster, pool, Report("a", [Event(shard, StageResult())], pace=pace))
        before = len(cluster.leased["a"])
        fill(pool)
        hear(cluster, pool)
        return len(cluster.leased["a"]) - before + held - 1

    fill(pool)
    hear(cluster, pool)
    held = IN_FLIGHT
    first, second = cluster.leased["a"]
    held = report(first, 0.001)
    assert held == 2 * IN_FLIGHT
    held = report(second, 0.001)
    assert held == 4 * IN_FLIGHT
    assert len(cluster.leased["b"]) == IN_FLIGHT, "it has said nothing of the kind"
    for shard in cluster.leased["a"][-(held - 1) :]:
        held = report(shard, 1.0)
    assert held == IN_FLIGHT
