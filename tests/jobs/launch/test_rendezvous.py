"""Where workers meet: torch's store and gloo listen at one address, whoever started the workers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from t2i_shards.jobs.launch.rendezvous import LOOPBACK, describe_world, find_interface, open_tcp_store
from tests.pipeline.engine.test_ray import run_script

RAY_TRAIN = """
import psutil
from ray.cluster_utils import Cluster
from t2i_shards.jobs.launch import ray as launch

def listening():
    found = psutil.Process().net_connections("inet")
    return {tuple(one.laddr) for one in found if one.status == psutil.CONN_LISTEN}

def look(config):
    '''In place of a training: at which addresses this worker has begun to listen.'''
    from t2i_shards.adapters.training.distributed import join_world
    with join_world("cpu") as world:
        world.barrier()
        seen = sorted(address for address, _ in listening() - before)
        world.barrier()
    return {"seen": seen, "workers": world.world_size, "node": ray.util.get_node_ip_address()}

def looking(config):
    global before
    before = listening()
    return work_there(config)

work_there, launch._work_there, launch.work = launch._work_there, looking, look
ray.cloudpickle.register_pickle_by_value(launch)

small = dict(object_store_memory=80_000_000, num_gpus=0)
nodes = NODES
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=3 - nodes, include_dashboard=False, **small))
for _ in range(nodes - 1):
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.2", **small)  # to Ray Train, another machine
ray.init(address=cluster.address, log_to_driver=False)

from tests.adapters.toys import toy_config
print(json.dumps(launch.train_on_ray(toy_config(folder), 2)))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.soak
@pytest.mark.parametrize("nodes", [1, 2])
def test_workers_of_ray_train_listen_at_one_address(nodes: int, tmp_path: Path) -> None:
    said = run_script(RAY_TRAIN.replace("NODES", str(nodes)), tmp_path)
    assert said["workers"] == 2
    seen = set(said["seen"])
    if nodes == 1:
        assert seen == {LOOPBACK}
    else:
        assert said["node"] in seen
        assert seen <= {said["node"], LOOPBACK}  # a node at 127.0.0.2 listens on lo


def _listening() -> set[tuple[str, int]]:
    found = psutil.Process().net_connections("inet")
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("address", [LOOPBACK, "127.0.0.2"])
def test_a_store_listens_at_its_address_alone(address: str) -> None:
    before = _listening()
    with open_tcp_store(address) as port:
        assert _listening() - before == {(address, port)}
    assert _listening() == before


def test_a_worker_listens_on_the_interface_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_interface(LOOPBACK) == "lo"
    assert find_interface("192.0.2.1") is None

    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    world = describe_world(3, 4, "10.0.0.1", 1234, (1, 2), "eth0")
    assert (world["GLOO_SOCKET_IFNAME"], world["NCCL_SOCKET_IFNAME"]) == ("eth0", "ib0")
    assert [world[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")] == [
        "3",
        "4",
        "1",
        "2",
    ]
    assert "GLOO_SOCKET_IFNAME" not in describe_world(3, 4, "10.0.0.1", 1234, (1, 2), None)
