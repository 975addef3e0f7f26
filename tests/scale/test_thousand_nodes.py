"""The driver with 8,000 workers on 1,000 nodes that come and go: the real one, in virtual time."""

from __future__ import annotations

import math

import pytest

from t2i_shards.pipeline.engine.leases import LeasePool
from t2i_shards.pipeline.engine.run import drive
from tests.scale.virtual_cluster import SPREAD, VirtualCluster, make_result

SHARDS, SECONDS = 100_000, 120.0


@pytest.mark.parametrize("seed", [1])
def test_preemption_and_slow_nodes_cost_little_and_lose_no_shard(seed: int) -> None:
    cluster = VirtualCluster(seed, nodes=1000, per_node=8, seconds=SECONDS)
    told: list[int] = []
    pool = LeasePool(cluster, SHARDS, asked=False, clock=cluster.clock)
    outcome = drive(pool, range(SHARDS), lambda shard, _: told.append(shard), cluster.clock)
    assert sorted(outcome.made) == sorted(told) == list(range(SHARDS))
    assert cluster.lost_nodes > 50
    assert outcome.quarantined == {}
    assert outcome.attempts.total() == 0, "what was lost with a node is charged to no shard"
    assert outcome.made == {shard: make_result(shard) for shard in range(SHARDS)}
    assert outcome.seconds <= 1.3 * ideal_seconds(cluster)


def ideal_seconds(cluster: VirtualCluster) -> float:
    """When these nodes would have been done if no worker had ever started, waited or lost work."""
    left = SHARDS * SECONDS * math.exp(SPREAD**2 / 2)
    speed = last = 0.0
    for when, more in cluster.speeds:
        if left <= speed * (when - last):
            break
        left -= speed * (when - last)
        speed, last = speed + more, when
    return last + left / speed
