"""Shards that take milliseconds, long ones among them: the driver and the leases in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from t2i_shards.pipeline.engine.cluster import Lease
from t2i_shards.pipeline.engine.leases import LeasePool
from t2i_shards.pipeline.engine.pool import IN_FLIGHT
from t2i_shards.pipeline.engine.run import RunResult, drive
from tests.scale import virtual_cluster
from tests.scale.virtual_cluster import VirtualCluster

NODES, WORKERS = 10, 4


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are all up before the first shard."""
    monkeypatch.setattr(virtual_cluster, "START", 0.0)


class Steady(VirtualCluster):
    """Ten equal nodes, there from the beginning. takes: seconds of a shard. held: the most in one's hands."""

    def __init__(self, takes: Callable[[int], float]) -> None:
        super().__init__(0, 0, WORKERS, 0, slow=0)
        self._takes, self.held, self.leases = takes, 0, 0
        self.names = [self._add(speed=1.0) for _ in range(NODES)]

    def lease(self, node: str, shards: Lease) -> None:
        there = self._nodes[node]
        at_work = len(there.workers) - len(there.idle)
        self.held, self.leases = max(self.held, len(there.waiting) + len(shards) + at_work), self.leases + 1
        super().lease(node, shards)

    def lose(self, when: float) -> None:
        self._in(when, partial(self._die, self.names[0]))

    def _draw(self, shard: int) -> float:
        return self._takes(shard)


def run(cluster: Steady, shards: int) -> RunResult:
    """Every shard is made once, and none is charged."""
    told: list[int] = []
    pool = LeasePool(cluster, shards, asked=False, clock=cluster.clock)
    outcome = drive(pool, range(shards), lambda shard, _: told.append(shard), cluster.clock)
    assert sorted(told) == sorted(outcome.made) == list(range(shards))
    assert outcome.attempts.total() == 0
    return outcome


def test_short_shards_are_leased_in_larger_numbers() -> None:
    cluster = Steady(lambda shard: 0.002)
    run(cluster, 40_000)
    assert cluster.held > 4 * IN_FLIGHT * WORKERS
    assert cluster.leases < 40_000 / 30


def test_long_ones_are_leased_two_at_a_time() -> None:
    cluster = Steady(lambda shard: 0.07)
    run(cluster, 5000)
    assert cluster.held == IN_FLIGHT * WORKERS


def test_a_node_lost_with_a_larger_lease_charges_no_shard() -> None:
    cluster = Steady(lambda shard: 0.01)
    cluster.lose(1.0)
    run(cluster, 40_000)
    assert cluster.held > 2 * IN_FLIGHT * WORKERS
    assert cluster.lost_nodes == 1


def test_long_shards_that_follow_short_ones_are_shared_by_all_nodes() -> None:
    rng = random.Random(5)
    short, long, seconds = 5000, 3 * NODES * WORKERS, 20.0
    takes = [rng.uniform(0.001, 0.003) for _ in range(short)] + [seconds] * long
    cluster = Steady(takes.__getitem__)
    outcome = run(cluster, short + long)
    assert cluster.held > 2 * IN_FLIGHT * WORKERS
    assert outcome.seconds <= 3 * seconds + 5.0, "none is idle while another node has some that wait"


def test_long_shards_among_short_ones_keep_no_others_from_idle_nodes() -> None:
    rng = random.Random(5)
    takes = [20.0 if rng.random() < 0.01 else rng.uniform(0.001, 0.003) for _ in range(20_000)]
    cluster = Steady(takes.__getitem__)
    outcome = run(cluster, len(takes))
    assert outcome.seconds <= 1.1 * sum(takes) / (NODES * WORKERS) + 20.0
