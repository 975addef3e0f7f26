"""What a Ray cluster holds: its nodes, and how many workers of a stage fit on them."""

from __future__ import annotations

from collections.abc import Mapping

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.engine.connect import connect
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stages.stage import Stage


def cluster_resources() -> dict[str, float]:
    """What the cluster has in all: {"CPU": 8.0, "GPU": 1.0, ...}."""
    import ray

    connect()
    resources: dict[str, float] = ray.cluster_resources()
    return resources


def alive_nodes() -> dict[str, Mapping[str, float]]:
    """What each node that is there has in all, by its id."""
    import ray

    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def describe_needs(needs: Resources) -> str:
    """1 CPU, 0.25 GPU, 1.1 GB memory"""
    parts = [f"{needs.cpus:g} CPU" if needs.cpus else "", f"{needs.gpus:g} GPU" if needs.gpus else ""]
    parts.append(f"{needs.memory / 1e9:.1f} GB memory" if needs.memory else "")
    return ", ".join(part for part in parts if part)


def count_slots(stage: Stage) -> int:
    """How many workers of the stage the nodes of the cluster can hold at once, were they idle.

    RequestError when no node could ever hold one: it would wait forever. 0 while there is no node that takes any
    work: they are yet to come, as where an autoscaler begins with a head alone.
    """
    connect()
    nodes = alive_nodes().values()
    slots = sum(count_node_slots(node, stage.resources) for node in nodes)
    if not slots and any(node.get("CPU") for node in nodes):
        raise RequestError(
            f"a worker needs {describe_needs(stage.resources)} on one node; no node of this cluster has that "
            "(--engine local reserves nothing)"
        )
    return slots


def count_node_slots(node: Mapping[str, float], needs: Resources) -> int:
    """Workers that fit on one node ({"CPU": 8.0, "GPU": 2.0, "memory": ...}); a share of a GPU is of one GPU."""
    slots = []
    if needs.cpus:
        slots.append(_fit(node.get("CPU", 0), needs.cpus))
    if needs.gpus >= 1:
        slots.append(_fit(node.get("GPU", 0), needs.gpus))
    elif needs.gpus:
        slots.append(int(node.get("GPU", 0)) * _fit(1, needs.gpus))
    if needs.memory:
        slots.append(_fit(node.get("memory", 0), needs.memory))
    return min(slots, default=int(node.get("CPU", 0)))


def _fit(room: float, size: float) -> int:
    # 1 / 0.1 may come out a hair under 10.
    return int(room / size + 1e-9)
