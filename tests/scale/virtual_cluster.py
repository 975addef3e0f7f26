"""A simulated cluster: nodes that come and go, slow ones among them, under a clock of its own."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from t2i_shards.pipeline.engine.agent import BATCH, TELL_EVERY
from t2i_shards.pipeline.engine.cluster import Lease, Message, NodeLost, NotStarted, Report, Started
from t2i_shards.pipeline.engine.lease_size import PATIENCE, count_surplus
from t2i_shards.pipeline.engine.pool import Event
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.stages.stage import StageResult

SPREAD = 0.3
"""Of the logarithm of the seconds that a shard takes."""
START = 20.0
"""Seconds from the room for a worker to its first shard."""
NOTICE = 25.0
"""Seconds in which a cluster finds out that a node is gone."""


@dataclass
class Node:
    """speed: of all its workers, in shards of the usual size per usual time. rooms: the speed of each that has yet
    to start. workers: that of each that is up. taken: shards begun. seconds: of work on those of `events`. told:
    when it reported last."""

    speed: float
    rooms: list[float]
    workers: dict[int, float] = field(default_factory=dict)
    idle: dict[int, None] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)
    events: list[Event] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    taken: int = 0
    seconds: float = 0.0
    told: float = 0.0
    shedding: bool = False
    reporting: bool = False
    lost: bool = False


def make_result(shard: int) -> StageResult:
    digest = f"{shard * 31 % 97:064x}"
    return StageResult({"toy": Receipt("toy", shard, 4000, 4000, 10**8, digest, digest, digest)})


class VirtualCluster:
    """A Cluster whose workers are where real ones would be: starting, at a shard, or idle.

    seconds: that a usual worker needs for a shard; a third of the nodes are half as fast, of the workers 2 % eight
    times slower. A fifth of the nodes are there at first, the others come within ten minutes; a node lives half an
    hour or longer, some for ever, and another comes five minutes after it.
    """

    def __init__(self, seed: int, nodes: int, per_node: int, seconds: float, slow: float = 0.02) -> None:
        self._rng, self._per_node, self._seconds, self._slow = random.Random(seed), per_node, seconds, slow
        self._now = 0.0
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._news: list[Message] = []
        self._nodes: dict[str, Node] = {}
        self._stopped = set[int]()
        self._pending: dict[int, None] = {}
        self._rooms: dict[str, None] = {}
        self.committed: dict[int, StageResult] = {}
        self.lost_nodes = 0
        self.speeds: list[tuple[float, float]] = []
        """(when, by how much the shards per usual time of all nodes that there are rose)"""
        for index in range(nodes):
            self._in(0.0 if index < nodes // 5 else self._rng.uniform(0, 600), self._join)
        self._advance(0.0)

    def clock(self) -> float:
        return self._now

    def count_slots(self) -> int:
        return self._per_node * len(self._nodes)

    def start(self, worker: int) -> None:
        self._pending[worker] = None
        self._place()

    def stop(self, worker: int) -> None:
        self._pending.pop(worker, None)
        self._stopped.add(worker)

    def lease(self, node: str, shards: Lease) -> None:
        there = self._nodes[node]
        there.waiting.extend(shard for shard, _ in shards)
        self._feed(node)
        if len(there.waiting) > len(there.workers) and not there.shedding:
            there.shedding = True
            self._in(PATIENCE, partial(self._shed, node, there.taken))

    def wait(self, seconds: float) -> Sequence[Message]:
        until = self._now + seconds
        while self._coming and self._coming[0][0] <= until and not self._news:
            self._advance(self._coming[0][0])
        if not self._news:
            self._now = until
        news, self._news = self._news, []
        return news

    def close(self) -> None:
        pass

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._coming, (self._now + seconds, self._number, act))

    def _advance(self, until: float) -> None:
        """Advance to this time."""
        while self._coming and self._coming[0][0] <= until:
            self._now, _, act = heapq.heappop(self._coming)
            act()
        self._now = until

    def _join(self) -> None:
        name = self._add(0.5 if self._rng.random() < 1 / 3 else 1.0)
        if self._rng.random() < 0.7:
            seconds = 1800 + self._rng.expovariate(1 / 3600)
            self._in(seconds, partial(self._die, name))
            self._in(seconds + 300, self._join)

    def _add(self, speed: float) -> str:
        """The name of another node."""
        self._number += 1
        name = f"node {self._number}"
        rooms = [speed / 8 if self._rng.random() < self._slow else speed for _ in range(self._per_node)]
        self._nodes[name], self._rooms[name] = Node(sum(rooms), rooms), None
        self.speeds.append((self._now, sum(rooms)))
        self._place()
        return name

    def _place(self) -> None:
        """Start the workers that wait on the nodes that have room."""
        while self._pending and self._rooms:
            name, worker = next(iter(self._rooms)), next(iter(self._pending))
            del self._pending[worker]
            rooms = self._nodes[name].rooms
            rise = partial(self._rise, worker, name, rooms.pop())
            if not rooms:
                del self._rooms[name]
            self._in(START * self._rng.uniform(0.5, 1.5), rise)

    def _rise(self, worker: int, name: str, speed: float) -> None:
        node = self._nodes.get(name)
        if worker in self._stopped:
            return
        if node is None or node.lost:
            self._news.append(NotStarted(worker, "its node is gone"))
            return
        if not node.workers:
            self._in(TELL_EVERY, partial(self._tell, name))
        node.workers[worker], node.idle[worker] = speed, None
        self._news.append(Started(worker, name))

    def _die(self, name: str) -> None:
        """The node is gone, and with it what its workers are at. The driver hears of it later."""
        self.lost_nodes += 1
        node = self._nodes[name]
        node.lost = True
        self._rooms.pop(name, None)
        self.speeds.append((self._now, -node.speed))
        self._in(NOTICE, partial(self._notice, name))

    def _notice(self, name: str) -> None:
        del self._nodes[name]
        self._news.append(NodeLost(name))

    def _feed(self, name: str) -> None:
        node = self._nodes[name]
        while node.idle and node.waiting and not node.lost:
            worker = next(iter(node.idle))
            del node.idle[worker]
            shard = node.waiting.popleft()
            node.taken += 1
            seconds = self._draw(shard) / node.workers[worker]
            self._in(seconds, partial(self._finish, worker, name, shard, seconds))

    def _draw(self, shard: int) -> float:
        """Seconds that a usual worker needs for the shard this time."""
        return self._seconds * self._rng.lognormvariate(0, SPREAD)

    def _finish(self, worker: int, name: str, shard: int, seconds: float) -> None:
        node = self._nodes.get(name)
        if node is None or node.lost:
            return
        result = self.committed.setdefault(shard, make_result(shard))  # the first copy is the one that counts
        node.events.append(Event(shard, result))
        node.seconds += seconds
        node.idle[worker] = None
        if node.waiting:
            node.begun.append(node.waiting[0])
        self._feed(name)
        if not node.waiting:
            self._report(name)
        elif not node.reporting:
            node.reporting = True
            self._in(BATCH, partial(self._report, name))

    def _shed(self, name: str, taken: int) -> None:
        """Give back what waits and will not be done soon, as an agent does."""
        node = self._nodes.get(name)
        if node is None or node.lost:
            return
        surplus = count_surplus(len(node.waiting), len(node.workers), node.taken - taken)
        if surplus:
            node.events += [Event(node.waiting.popleft(), None) for _ in range(surplus)]
            node.seconds = math.inf
            self._report(name)
        node.shedding = len(node.waiting) > len(node.workers)
        if node.shedding:
            self._in(PATIENCE, partial(self._shed, name, node.taken))

    def _tell(self, name: str) -> None:
        """Say how far the shards under way are, where nothing else was said for a while."""
        node = self._nodes.get(name)
        if node is None or node.lost:
            return
        busy = len(node.workers) - len(node.idle)
        if busy and self._now - node.told >= TELL_EVERY:
            self._news.append(Report(name, [], under_way=busy))
            node.told = self._now
        self._in(TELL_EVERY, partial(self._tell, name))

    def _report(self, name: str) -> None:
        node = self._nodes.get(name)
        if node and node.events and not node.lost:
            pace = node.seconds / len(node.events)
            self._news.append(Report(name, node.events, begun=node.begun, pace=pace))
            node.events, node.begun, node.seconds, node.told = [], [], 0.0, self._now
            node.reporting = False
