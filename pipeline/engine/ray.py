"""The pool on Ray: one actor per worker, one task per shard. The only user of Ray beside jobs/."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pipeline.engine.pool import IN_FLIGHT, Event, Failure, attempt
from pipeline.errors import RequestError
from pipeline.stage import Made, Stage


class _Actor:
    """Holds the stage, and with it the models it loaded."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._ready = stage, False

    def run(self, shard: int) -> Made | Failure:
        result = attempt(self._stage, shard, self._ready)
        self._ready = self._ready or not isinstance(result, Failure)
        return result


@dataclass
class _Worker:
    handle: Any
    calls: deque[tuple[int, Any]] = field(default_factory=deque)


def connect() -> None:
    """Join the cluster that RAY_ADDRESS or the surrounding job names, or start one on this machine."""
    import ray

    if not ray.is_initialized():
        # Joining a cluster, Ray ignores include_dashboard; it says on every start that tokens are in use.
        logging.getLogger("ray").setLevel(logging.ERROR)
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def cluster_resources() -> dict[str, float]:
    """What the cluster has in all: {"CPU": 8.0, "GPU": 1.0, ...}."""
    import ray

    connect()
    resources: dict[str, float] = ray.cluster_resources()
    return resources


class RayPool:
    """`workers` actors with the stage's declared resources, anywhere in the cluster.

    Ray's own retries are off: an actor that dies is replaced here, so that attempts can be counted and the
    second shard in its hands goes back uncharged.
    """

    def __init__(self, stage: Stage, workers: int) -> None:
        import ray

        connect()
        needs = stage.resources
        self._ray = ray
        self._stage = ray.put(stage)
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
        if needs.memory:
            options["memory"] = needs.memory
        self._class = ray.remote(max_restarts=0, max_task_retries=0, **options)(_Actor)
        self._workers = [self._start() for _ in range(workers)]

    def _start(self) -> _Worker:
        return _Worker(self._class.remote(self._stage))

    @property
    def free(self) -> bool:
        return any(len(worker.calls) < IN_FLIGHT for worker in self._workers)

    def submit(self, shard: int) -> None:
        worker = min(self._workers, key=lambda w: len(w.calls))
        worker.calls.append((shard, worker.handle.run.remote(shard)))

    def wait(self) -> list[Event]:
        heads = [worker.calls[0][1] for worker in self._workers if worker.calls]
        ready, _ = self._ray.wait(heads, num_returns=1, timeout=1.0)
        if ready:
            ready, _ = self._ray.wait(heads, num_returns=len(heads), timeout=0)
        events: list[Event] = []
        for index, worker in enumerate(self._workers):
            if worker.calls and worker.calls[0][1] in ready:
                events += self._collect(index, worker)
        return events

    def _collect(self, index: int, worker: _Worker) -> list[Event]:
        shard, call = worker.calls[0]
        try:
            result = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            line = f"the worker died ({type(error).__name__})"
            self._ray.kill(worker.handle)
            self._workers[index] = self._start()
            return [Event(s, Failure("shard", line) if i == 0 else None) for i, (s, _) in enumerate(worker.calls)]
        worker.calls.popleft()
        return [Event(shard, result)]

    def close(self) -> None:
        for worker in self._workers:
            self._ray.kill(worker.handle)


def check_schedulable(stage: Stage) -> None:
    """RequestError when no node could ever hold one worker of the stage: it would wait for ever."""
    import ray

    connect()
    needs = {
        "CPU": stage.resources.cpus,
        "GPU": stage.resources.gpus,
        "memory": float(stage.resources.memory),
    }
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in nodes):
        asked = ", ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)
        raise RequestError(f"a worker needs {asked} on one node; no node of this cluster has that")
