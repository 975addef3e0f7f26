"""How far off the virtual cluster is: the same work on a real Ray of two nodes, one of which is lost on the way.

python -m tests.scale.calibrate
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.engine.cluster import Message, NodeLost, Started
from t2i_shards.pipeline.engine.leases import LeasePool
from t2i_shards.pipeline.engine.ray import RayCluster
from t2i_shards.pipeline.engine.run import drive
from t2i_shards.pipeline.stages.stage import StageResult
from tests.conftest import ray_folder
from tests.scale.virtual_cluster import NOTICE, SPREAD, START, VirtualCluster, make_result

WORKERS, SHARDS, SECONDS, LOST_AFTER = 3, 180, 2.0, 60
"""Workers of a node; shards; seconds that one takes; shards that are made when the second node is lost."""


def draw_seconds(shard: int) -> float:
    return SECONDS * random.Random(shard).lognormvariate(0, SPREAD)


@dataclass
class Sleep:
    """Stage: takes as long as is drawn for the shard, and uses no core."""

    resources: Resources

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, shard: int) -> StageResult:
        time.sleep(draw_seconds(shard))
        return make_result(shard)


class TimedCluster(RayCluster):
    """Notes when the driver hears of what."""

    def __init__(self, stage: Sleep) -> None:
        self.begun = time.monotonic()
        self.heard: list[tuple[float, Message]] = []
        super().__init__(stage)

    def wait(self, seconds: float) -> Sequence[Message]:
        news = super().wait(seconds)
        self.heard += [(time.monotonic() - self.begun, message) for message in news]
        return news


class TwoNodes(VirtualCluster):
    """As the real one: both there from the beginning, with equal workers."""

    def __init__(self) -> None:
        super().__init__(0, 0, WORKERS, SECONDS, slow=0)
        self._two = [self._add(speed=1.0) for _ in range(2)]

    def lose(self) -> None:
        self._die(self._two[1])

    def _draw(self, shard: int) -> float:
        return draw_seconds(shard)


def run_real() -> tuple[float, float, float]:
    """Seconds: of the whole, from the beginning to a worker that is up, from the loss of a node to its notice."""
    import ray
    from ray.cluster_utils import Cluster

    options = {"num_cpus": WORKERS, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    second = cluster.add_node(**options)
    ray.init(address=cluster.address, log_to_driver=False)
    timed, made, lost = TimedCluster(Sleep(Resources(cpus=1))), list[int](), list[float]()

    def lose(shard: int, _: StageResult | None) -> None:
        made.append(shard)
        if len(made) == LOST_AFTER:
            lost.append(time.monotonic() - timed.begun)
            cluster.remove_node(second, allow_graceful=False)

    outcome = drive(LeasePool(timed, SHARDS, asked=False), range(SHARDS), lose)
    assert (len(outcome.made), outcome.attempts.total()) == (SHARDS, 0)
    started = mean(when for when, what in timed.heard if isinstance(what, Started))
    noticed = next(when for when, what in timed.heard if isinstance(what, NodeLost))
    ray.shutdown()
    cluster.shutdown()
    return outcome.seconds, started, noticed - lost[0]


def run_virtual() -> float:
    """Seconds of the whole."""
    cluster, made = TwoNodes(), list[int]()

    def lose(shard: int, _: StageResult | None) -> None:
        made.append(shard)
        if len(made) == LOST_AFTER:
            cluster.lose()

    pool = LeasePool(cluster, SHARDS, asked=False, clock=cluster.clock)
    return drive(pool, range(SHARDS), lose, cluster.clock).seconds


if __name__ == "__main__":
    virtual = run_virtual()
    with ray_folder() as folder:
        os.environ |= {"RAY_TMPDIR": os.fspath(folder), "PYTHONPATH": os.fspath(Path(__file__).parents[2])}
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        real, started, noticed = run_real()
    print(f"whole run: real {real:.1f} s, virtual {virtual:.1f} s, {virtual / real - 1:+.0%}")
    print(f"until a worker is up: real {started:.1f} s, virtual {START:.1f} s")
    print(f"until the loss of a node is noticed: real {noticed:.1f} s, virtual {NOTICE:.1f} s")
