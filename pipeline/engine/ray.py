"""The pool on Ray: one actor per worker, one task per shard. It and connect.py alone use Ray outside jobs/."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extractors.base import Resources
from pipeline.engine.connect import connect
from pipeline.engine.pool import IN_FLIGHT, Event, Failure, Worker
from pipeline.errors import IncompleteError, RequestError
from pipeline.stages.stage import Stage

log = logging.getLogger(__name__)

STARTS = 3
"""How often each worker is started again, on the average, when none of them comes up."""

WARN_EVERY = 60.0
"""Seconds between two warnings that there is no worker."""


@dataclass
class _Actor:
    """started: ready once the actor is up; till then it may wait long for room on some node."""

    handle: Any
    started: Any
    up: bool = False
    calls: deque[tuple[int, Any]] = field(default_factory=deque)


def cluster_resources() -> dict[str, float]:
    """What the cluster has in all: {"CPU": 8.0, "GPU": 1.0, ...}."""
    import ray

    connect()
    resources: dict[str, float] = ray.cluster_resources()
    return resources


class RayPool:
    """`workers` actors with the stage's declared resources, anywhere in the cluster.

    Ray's own retries are off: an actor that dies is replaced here, so that attempts can be counted and the
    second shard in its hands goes back uncharged. Only an actor that is up is given shards: when a node is
    lost, the ones that took the place of its actors may find no room, and must not keep shards waiting.
    """

    def __init__(self, stage: Stage, workers: int) -> None:
        import ray

        connect()
        needs = stage.resources
        self._ray = ray
        self._needs = needs
        self._stage = ray.put(stage)
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
        if needs.memory:
            options["memory"] = needs.memory
        self._class = ray.remote(max_restarts=0, max_task_retries=0, **options)(Worker)
        self._stillborn = 0
        self._seen_up = time.monotonic()
        self._actors = [self._start() for _ in range(workers)]

    def _start(self) -> _Actor:
        handle: Any = self._class.remote(self._stage)
        return _Actor(handle, handle.__ray_ready__.remote())

    @property
    def free(self) -> bool:
        # While some are still to come up nobody takes a second shard, so that those who come find work.
        most = IN_FLIGHT if all(actor.up for actor in self._actors) else 1
        return any(actor.up and len(actor.calls) < most for actor in self._actors)

    def submit(self, shard: int, careful: bool = False) -> None:
        actor = min((a for a in self._actors if a.up), key=lambda a: len(a.calls))
        actor.calls.append((shard, actor.handle.run.remote(shard, careful)))

    def wait(self) -> list[Event]:
        awaited = [a.calls[0][1] if a.calls else a.started for a in self._actors if a.calls or not a.up]
        ready, _ = self._ray.wait(awaited, num_returns=1, timeout=1.0)
        if ready:
            ready, _ = self._ray.wait(awaited, num_returns=len(awaited), timeout=0)
        events: list[Event] = []
        for index, actor in enumerate(self._actors):
            if actor.calls and actor.calls[0][1] in ready:
                events += self._collect(index, actor)
            elif not actor.up and actor.started in ready:
                self._welcome(index, actor)
        self._warn_if_none()
        return events

    def _collect(self, index: int, actor: _Actor) -> list[Event]:
        shard, call = actor.calls[0]
        try:
            result = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            line = f"the worker died ({type(error).__name__})"
            self._ray.kill(actor.handle)
            self._actors[index] = self._start()
            return [Event(s, Failure("death", line) if i == 0 else None) for i, (s, _) in enumerate(actor.calls)]
        actor.calls.popleft()
        return [Event(shard, result)]

    def _welcome(self, index: int, actor: _Actor) -> None:
        """Let a worker that has started take shards; start another when it died over it."""
        try:
            self._ray.get(actor.started)
        except self._ray.exceptions.RayError as error:
            self._stillborn += 1
            if self._stillborn >= STARTS * len(self._actors):
                why = str(error).strip().splitlines()[-1]
                raise IncompleteError(f"no worker can start; the last died of: {why}") from None
            self._actors[index] = self._start()
        else:
            actor.up, self._stillborn = True, 0

    def _warn_if_none(self) -> None:
        now = time.monotonic()
        if any(actor.up for actor in self._actors):
            self._seen_up = now
        elif now - self._seen_up > WARN_EVERY:
            self._seen_up = now
            log.warning("no worker runs: waiting for a node with %s to spare", describe_needs(self._needs))

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor.handle)


def describe_needs(needs: Resources) -> str:
    """1 CPU, 0.25 GPU, 1.1 GB memory"""
    parts = [f"{needs.cpus:g} CPU" if needs.cpus else "", f"{needs.gpus:g} GPU" if needs.gpus else ""]
    parts.append(f"{needs.memory / 1e9:.1f} GB memory" if needs.memory else "")
    return ", ".join(part for part in parts if part)


def count_slots(stage: Stage) -> int:
    """How many workers of the stage the nodes of the cluster can hold at once, were they idle.

    RequestError when no node could ever hold one: it would wait for ever.
    """
    import ray

    connect()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(count_node_slots(node, stage.resources) for node in nodes)
    if not slots:
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
