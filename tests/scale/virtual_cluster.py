"""A cluster that exists in time alone: nodes that come and go, slow ones among them, under a clock of its own."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

from t2i_shards.pipeline.engine.pool import IN_FLIGHT, Event
from t2i_shards.pipeline.stages.stage import StageResult

NEVER = float("inf")


@dataclass
class Worker:
    """speed: shards of the usual size per usual time. held: the shard at work first."""

    node: int
    speed: float
    held: deque[int] = field(default_factory=deque)


class VirtualCluster:
    """A Pool. Every worker is where a real one would be: at a shard, with the next one in its hands, or idle.

    seconds: that a usual worker needs for a shard; a third of the nodes are half as fast, of the workers 2 % eight
    times slower. A fifth of the nodes are there at first, the others come within ten minutes; a node lives half an
    hour or longer, some for ever, and another comes five minutes after it.
    """

    def __init__(self, seed: int, nodes: int, per_node: int, seconds: float) -> None:
        self._rng, self._per_node, self._seconds = random.Random(seed), per_node, seconds
        self._now = 0.0
        self._events: list[tuple[float, int, str, int]] = []
        self._workers: dict[int, Worker] = {}
        self._of_node: dict[int, list[int]] = {}
        self._by_load: list[dict[int, None]] = [{} for _ in range(IN_FLIGHT)]
        self._number = self._node = 0
        self.committed: dict[int, int] = {}
        self.lost_nodes = 0
        self._capacity_since, self._speed, self.capacity = 0.0, 0.0, 0.0
        for index in range(nodes):
            self._schedule(0.0 if index < nodes // 5 else self._rng.uniform(0, 600), "join", 0)

    def clock(self) -> float:
        return self._now

    @property
    def free(self) -> bool:
        return any(self._by_load)

    @property
    def idle(self) -> bool:
        return bool(self._by_load[0])

    def submit(self, shard: int, careful: bool = False) -> None:
        load = next(load for load, workers in enumerate(self._by_load) if workers)
        number = next(iter(self._by_load[load]))
        worker = self._workers[number]
        del self._by_load[load][number]
        if load + 1 < IN_FLIGHT:
            self._by_load[load + 1][number] = None
        worker.held.append(shard)
        if load == 0:
            self._work(number)

    def wait(self) -> list[Event]:
        """Advance to the next event, at most a second."""
        until = self._now + 1.0
        events: list[Event] = []
        while self._events and self._events[0][0] <= until and not events:
            self._pass(self._events[0][0])
            _, _, what, number = heapq.heappop(self._events)
            events = getattr(self, f"_{what}")(number)
        if not events:
            self._pass(until)
        return events

    def close(self) -> None:
        self._pass(self._now)

    def _pass(self, now: float) -> None:
        self.capacity += self._speed * (now - self._capacity_since)
        self._now = self._capacity_since = now

    def _schedule(self, at: float, what: str, number: int) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, what, number))

    def _join(self, _: int) -> list[Event]:
        node = self._node = self._node + 1
        slow = 0.5 if self._rng.random() < 1 / 3 else 1.0
        self._of_node[node] = []
        for _ in range(self._per_node):
            self._number += 1
            speed = slow / 8 if self._rng.random() < 0.02 else slow
            self._workers[self._number] = Worker(node, speed)
            self._of_node[node].append(self._number)
            self._by_load[0][self._number] = None
            self._speed += speed
        if self._rng.random() < 0.7:
            self._schedule(self._now + 1800 + self._rng.expovariate(1 / 3600), "leave", node)
        return []

    def _leave(self, node: int) -> list[Event]:
        """The node is gone, and with it what its workers were at."""
        self.lost_nodes += 1
        back: list[Event] = []
        for number in self._of_node.pop(node):
            worker = self._workers.pop(number)
            self._speed -= worker.speed
            for workers in self._by_load:
                workers.pop(number, None)
            back += [Event(shard, None) for shard in worker.held]
        self._schedule(self._now + 300, "join", 0)
        return back

    def _work(self, number: int) -> None:
        worker = self._workers[number]
        seconds = self._seconds * self._rng.lognormvariate(0, 0.3) / worker.speed
        self._schedule(self._now + seconds, "finish", number)

    def _finish(self, number: int) -> list[Event]:
        worker = self._workers.get(number)
        if worker is None:
            return []
        shard = worker.held.popleft()
        load = len(worker.held)
        if load + 1 < IN_FLIGHT:
            self._by_load[load + 1].pop(number, None)
        self._by_load[load][number] = None
        if worker.held:
            self._work(number)
        self.committed.setdefault(shard, shard * 31 % 97)  # the first copy is the one that counts
        return [Event(shard, StageResult())]
