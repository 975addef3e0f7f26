"""The driver with 8,000 workers on 1,000 nodes that come and go: the real one, in virtual time."""

from __future__ import annotations

import math

import pytest

from t2i_shards.pipeline.engine.run import drive
from tests.scale.virtual_cluster import VirtualCluster

SHARDS, SECONDS = 120_000, 120.0


@pytest.mark.parametrize("seed", [1])
def test_preemption_and_slow_nodes_cost_little_and_lose_no_shard(seed: int) -> None:
    cluster = VirtualCluster(seed, nodes=1000, per_node=8, seconds=SECONDS)
    told: list[int] = []
    outcome = drive(cluster, range(SHARDS), lambda shard, _: told.append(shard), cluster.clock)
    assert sorted(outcome.made) == sorted(told) == list(range(SHARDS))
    assert cluster.lost_nodes > 50
    assert outcome.quarantined == {}
    assert outcome.attempts.total() == 0, "what was lost with a node is charged to no shard"
    assert sorted(cluster.committed) == list(range(SHARDS))
    # What the workers that were there could have done, had none ever waited or worked in vain.
    usual = SECONDS * math.exp(0.3**2 / 2)
    assert cluster.capacity / usual <= 1.3 * SHARDS
