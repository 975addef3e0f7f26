"""A Ray cluster: an actor for each worker, and one agent a node that hands it the shards of its leases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t2i_shards.pipeline.engine.agent import GRACE, NodeAgent, NodeWorker
from t2i_shards.pipeline.engine.cluster import Lease, Message, NodeLost, NotStarted, Report, Started
from t2i_shards.pipeline.engine.connect import connect
from t2i_shards.pipeline.engine.nodes import alive_nodes, count_node_slots
from t2i_shards.pipeline.stages.stage import Stage

GATHER = 50e-6
"""Seconds for each awaited answer in which further ones are gathered: a look at them all takes a tenth of it."""


class RayCluster:
    """Workers are actors with the stage's declared resources, which Ray puts where there is room.

    Ray's own retries are off, so that the driver can count attempts. An agent needs no resources.
    """

    def __init__(self, stage: Stage) -> None:
        import ray

        connect()
        self._ray = ray
        self._needs = needs = stage.resources
        self._stage = ray.put(stage)
        self._here = ray.get_runtime_context().get_node_id()
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "memory": needs.memory or None}
        self._worker_class: Any = ray.remote(max_restarts=0, max_task_retries=0, **options)(NodeWorker)
        self._agent_class: Any = ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)(NodeAgent)
        self._workers: dict[int, tuple[Any, Any]] = {}
        """Number -> (handle, the answer that is ready once it is up)."""
        self._agents: dict[str, Any] = {}
        self._awaited: dict[Any, int | str] = {}
        """Answer -> the number of the worker that starts, or the node that reports."""
        for node, resources in alive_nodes().items():
            if count_node_slots(resources, needs):
                self._start_agent(node)

    def count_slots(self) -> int:
        return sum(count_node_slots(node, self._needs) for node in alive_nodes().values())

    def start(self, worker: int) -> None:
        handle = self._worker_class.remote(self._stage)
        up = handle.node.remote()
        self._workers[worker], self._awaited[up] = (handle, up), worker

    def stop(self, worker: int) -> None:
        handle, up = self._workers.pop(worker)
        self._ray.kill(handle)
        self._awaited.pop(up, None)

    def lease(self, node: str, shards: Lease) -> None:
        self._agents[node].lease.remote(shards)

    def wait(self, seconds: float) -> Sequence[Message]:
        answers = list(self._awaited)
        ready, _ = self._ray.wait(answers, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(answers, num_returns=len(answers), timeout=GATHER * len(answers))
        return [self._read(answer) for answer in ready]

    def _read(self, answer: Any) -> Message:
        whose = self._awaited.pop(answer)
        try:
            news = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            if isinstance(whose, int):
                return NotStarted(whose, str(error).strip().splitlines()[-1])
            self._ray.kill(self._agents.pop(whose))
            return NodeLost(whose)
        if isinstance(whose, int):
            self._admit(whose, news)
            return Started(whose, news)
        self._awaited[self._agents[whose].report.remote()] = whose
        return Report(whose, *news)

    def _admit(self, worker: int, node: str) -> None:
        if node not in self._agents:
            self._start_agent(node)
        handle, agent = self._workers[worker][0], self._agents[node]
        handle.report_to.remote(agent, worker)
        agent.adopt.remote(worker, handle)

    def _start_agent(self, node: str) -> None:
        there = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        # The node of this process is there as long as this process is.
        grace = 0.0 if node == self._here else GRACE
        self._agents[node] = agent = self._agent_class.options(scheduling_strategy=there).remote(grace)
        self._awaited[agent.report.remote()] = node

    def close(self) -> None:
        # Those that wait for room come first: they would start on what the others leave.
        workers = sorted(self._workers.values(), key=lambda worker: worker[1] not in self._awaited)
        for handle in [*(handle for handle, _ in workers), *self._agents.values()]:
            self._ray.kill(handle)
