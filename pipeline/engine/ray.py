"""The pool on Ray: one actor per worker, one task per shard."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from t2i_shards.pipeline.engine.connect import connect
from t2i_shards.pipeline.engine.nodes import alive_nodes, count_node_slots, describe_needs
from t2i_shards.pipeline.engine.pool import IN_FLIGHT, Event, Failure, Worker
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.stages.stage import Stage

log = logging.getLogger(__name__)

STARTS = 3
"""How often each worker is started again, on the average, when none of them comes up."""

WARN_EVERY = 60.0
"""Seconds between two warnings that there is no worker."""

RESIZE_EVERY = 5.0
"""Seconds between two looks at the nodes of the cluster."""

GRACE = 30.0
"""Seconds in which Ray finds out that a node is gone (five checks, one every 3 s); its workers die first."""


class NodeWorker(Worker):
    """A worker that knows on which node it is."""

    def node(self) -> str:
        import ray

        node: str = ray.get_runtime_context().get_node_id()
        return node


@dataclass
class _Actor:
    """started: ready once the actor is up; till then it may wait long for room on some node. node: where it is."""

    handle: Any
    started: Any
    up: bool = False
    node: str = ""
    calls: deque[tuple[int, Any]] = field(default_factory=deque)


@dataclass
class _Death:
    """A worker that died over a shard. until: when it will be known whether its node died too."""

    shard: int
    failure: Failure
    node: str
    until: float


class RayPool:
    """Actors with the stage's declared resources, anywhere in the cluster: as many as it holds, at most `most`.

    asked: room for `most` is waited for, and an autoscaler may make it. Otherwise there are as many workers as
    the present nodes hold, and they become more and fewer with the nodes.
    Ray's own retries are off: an actor that dies is replaced here, so that attempts can be counted and the
    second shard in its hands goes back uncharged. So does the first, where the node was lost with it. Only an
    actor that is up is given shards: when a node is lost, the ones that took the place of its actors may find no
    room, and must not keep shards waiting.
    """

    def __init__(self, stage: Stage, most: int, asked: bool = True) -> None:
        import ray

        connect()
        needs = stage.resources
        self._ray = ray
        self._needs, self._most, self._asked = needs, most, asked
        self._stage = ray.put(stage)
        self._here = ray.get_runtime_context().get_node_id()
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
        if needs.memory:
            options["memory"] = needs.memory
        self._class = ray.remote(max_restarts=0, max_task_retries=0, **options)(NodeWorker)
        self._failed_starts = 0
        self._seen_up = self._resized = time.monotonic()
        self._deaths: list[_Death] = []
        self._actors = [self._start() for _ in range(self._count_wanted())]

    def _count_wanted(self) -> int:
        """How many workers there should be now."""
        if self._asked:
            return self._most
        return max(1, min(self._most, sum(count_node_slots(node, self._needs) for node in alive_nodes().values())))

    def _start(self) -> _Actor:
        handle: Any = self._class.remote(self._stage)
        return _Actor(handle, handle.node.remote())

    @property
    def free(self) -> bool:
        # While some workers have yet to start, none gets a second shard, so that they find work.
        most = IN_FLIGHT if all(actor.up for actor in self._actors) else 1
        return any(actor.up and len(actor.calls) < most for actor in self._actors)

    @property
    def idle(self) -> bool:
        return any(actor.up and not actor.calls for actor in self._actors)

    def submit(self, shard: int, careful: bool = False) -> None:
        actor = min((a for a in self._actors if a.up), key=lambda a: len(a.calls))
        actor.calls.append((shard, actor.handle.run.remote(shard, careful)))

    def wait(self) -> list[Event]:
        awaited = [a.calls[0][1] if a.calls else a.started for a in self._actors if a.calls or not a.up]
        ready: list[Any] = []
        if awaited:
            ready, _ = self._ray.wait(awaited, num_returns=1, timeout=1.0)
        else:
            time.sleep(0.1)  # a death waits for the verdict on its node
        if ready:
            ready, _ = self._ray.wait(awaited, num_returns=len(awaited), timeout=0)
        events: list[Event] = []
        for actor in list(self._actors):
            if actor.calls and actor.calls[0][1] in ready:
                events += self._collect(actor)
            elif not actor.up and actor.started in ready:
                self._welcome(actor)
        events += self._judge_deaths()
        self._resize()
        self._warn_if_none()
        return events

    def _collect(self, actor: _Actor) -> list[Event]:
        shard, call = actor.calls[0]
        try:
            result = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            failure = Failure("death", f"the worker died ({type(error).__name__})")
            # The node of this process is there. Of another one it is not known yet whether it died as well.
            grace = 0.0 if actor.node == self._here else GRACE
            self._deaths.append(_Death(shard, failure, actor.node, time.monotonic() + grace))
            self._replace(actor)
            return [Event(other, None) for other, _ in list(actor.calls)[1:]]
        actor.calls.popleft()
        return [Event(shard, result)]

    def _judge_deaths(self) -> list[Event]:
        """The shards over which workers died: charged, unless the node is gone as well."""
        if not self._deaths:
            return []
        now, alive = time.monotonic(), alive_nodes()
        due = [death for death in self._deaths if death.until <= now or death.node not in alive]
        self._deaths = [death for death in self._deaths if death not in due]
        return [Event(death.shard, death.failure if death.node in alive else None) for death in due]

    def _replace(self, actor: _Actor) -> None:
        """Start another one in its place, unless there is no room for it any more."""
        self._ray.kill(actor.handle)
        self._actors.remove(actor)
        if len(self._actors) < self._count_wanted():
            self._actors.append(self._start())

    def _resize(self) -> None:
        """Have as many workers as the cluster holds by now. Those at work are left alone."""
        now = time.monotonic()
        if self._asked or now - self._resized < RESIZE_EVERY:
            return
        self._resized, wanted = now, self._count_wanted()
        for actor in [actor for actor in self._actors if not actor.up][: max(0, len(self._actors) - wanted)]:
            self._ray.kill(actor.handle)
            self._actors.remove(actor)
        self._actors += [self._start() for _ in range(wanted - len(self._actors))]

    def _welcome(self, actor: _Actor) -> None:
        """Let a worker that has started take shards; start another when it died over it."""
        try:
            actor.node = self._ray.get(actor.started)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= STARTS * len(self._actors):
                why = str(error).strip().splitlines()[-1]
                raise IncompleteError(f"no worker can start; the last died of: {why}") from None
            self._replace(actor)
        else:
            actor.up, self._failed_starts = True, 0

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
