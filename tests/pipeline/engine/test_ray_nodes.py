"""The Ray pool where nodes come and go, on real nodes of one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline.engine.pool import IN_FLIGHT
from tests.pipeline.engine.test_ray import run_script

NODE_LOST = """
from ray.cluster_utils import Cluster
from t2i_shards.pipeline.engine.leases import LeasePool
from t2i_shards.pipeline.engine.ray import RayCluster
from t2i_shards.pipeline.engine.run import drive

leased = {}

class Recorded(RayCluster):
    def lease(self, node, shards):
        leased.setdefault(node, set()).update(shard for shard, _ in shards)
        super().lease(node, shards)

small = dict(object_store_memory=100_000_000)
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False, **small))
second = cluster.add_node(num_cpus=2, **small)
ray.init(address=cluster.address, log_to_driver=False)
stage = Toy(Resources(cpus=1), together=3, seconds=0.2)
before = ray.cluster_resources()["CPU"]
made, held = set(), set()

def begun():
    return {int(file.stem) for file in folder.glob("*.json")}

def lose(shard, result):
    made.add(shard)
    lease = leased.get(second.node_id, set())
    if not held and lease & made and lease - begun():
        cluster.remove_node(second, allow_graceful=False)
        held.update(lease - made)

outcome = drive(LeasePool(Recorded(stage), 24), range(24), lose)
notes = [json.loads(line) for f in folder.glob("*.json") for line in f.read_text().splitlines()]
print(json.dumps({"cpus": before, "made": sorted(outcome.made), "set aside": outcome.quarantined,
                  "charged": sum(outcome.attempts.values()), "worked": len(notes), "held": len(held),
                  "nodes": len({note["node"] for note in notes})}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.soak
def test_a_node_lost_with_its_lease_half_done_charges_no_shard(tmp_path: Path) -> None:
    # Two of the three workers die with it, and the two started in their place find no room ever after.
    said = run_script(NODE_LOST, tmp_path)
    assert said["cpus"] == 3
    assert said["nodes"] == 2
    assert said["held"] >= 1, "it had shards that were not made"
    assert said["made"] == list(range(24))
    assert said["set aside"] == {}
    assert said["charged"] == 0
    # A worker that is cut off continues for a moment: it may have finished one shard and begun its other one.
    assert said["worked"] <= 24 + 2 * IN_FLIGHT


NODE_ADDED = """
from ray.cluster_utils import Cluster
options = dict(include_dashboard=False, object_store_memory=100_000_000)
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, **options))
ray.init(address=cluster.address, log_to_driver=False)
stage = Toy(Resources(cpus=1), seconds=0.5)
asked = []

def grow(shard, made):
    # As an autoscaler does: another node when somebody waits for room.
    from ray._raylet import GcsClient
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    waiting = get_cluster_resource_state(GcsClient(cluster.address)).pending_resource_requests
    if waiting and not asked:
        asked.extend(dict(one.request.resources_bundle) for one in waiting)
        cluster.add_node(num_cpus=1, object_store_memory=100_000_000)

outcome = run(stage, range(60), progress=grow)
notes = [json.loads(line) for f in folder.glob("*.json") for line in f.read_text().splitlines()]
print(json.dumps({"made": len(outcome.made), "nodes": len({note["node"] for note in notes}), "asked": asked}))
ray.shutdown()
cluster.shutdown()
"""


FROM_ZERO = """
import t2i_shards.pipeline.engine.ray as engine
from ray._raylet import GcsClient
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.cluster_utils import Cluster
from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.extract import choose_worker_device

options = dict(include_dashboard=False, object_store_memory=100_000_000)
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0, **options))
ray.init(address=cluster.address, log_to_driver=False)
asked = []

class Growing(engine.RayCluster):
    # As an autoscaler does: a node for somebody who waits for room.
    def wait(self, seconds):
        if not asked:
            waiting = get_cluster_resource_state(GcsClient(cluster.address)).pending_resource_requests
            asked.extend(dict(one.request.resources_bundle) for one in waiting)
            if asked:
                cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=100_000_000)
        return super().wait(seconds)

device = choose_worker_device("cuda", EngineOptions())
engine.RayCluster = Growing
outcome = run(Toy(Resources(cpus=1, gpus=0.5)), range(8))
print(json.dumps({"device": device, "made": len(outcome.made), "asked": asked}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.soak
def test_a_cluster_may_begin_with_no_worker_at_all(tmp_path: Path) -> None:
    said = run_script(FROM_ZERO, tmp_path)
    assert said == {"device": "cuda", "made": 8, "asked": [{"CPU": 1.0, "GPU": 0.5}]}


@pytest.mark.soak
def test_a_node_that_comes_later_is_used(tmp_path: Path) -> None:
    said = run_script(NODE_ADDED, tmp_path)
    assert said == {"made": 60, "nodes": 2, "asked": [{"CPU": 1.0}]}
