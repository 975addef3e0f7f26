"""The pool of a cluster: nodes are leased shards, two a worker or a few more, and give back what became of them.

A node that is lost gives its shards back uncharged. Workers become more and fewer with the nodes.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from t2i_shards.pipeline.engine.cluster import Cluster, NodeLost, NotStarted, Report, Started
from t2i_shards.pipeline.engine.lease_size import next_size
from t2i_shards.pipeline.engine.pool import IN_FLIGHT, Event
from t2i_shards.pipeline.errors import IncompleteError

log = logging.getLogger(__name__)

STARTS = 3
"""How often each worker is started again, on average, when none of them comes up."""

WARN_EVERY = 60.0
"""Seconds between two warnings that there is no worker."""

RESIZE_EVERY = 5.0
"""Seconds between two looks at the nodes of the cluster."""

SETTLE = 60.0
"""Seconds from the beginning in which workers that are still starting keep others from a second shard."""

SPARE = 1000
"""Workers that wait for room, at most, where nobody has said how many there may be."""


@dataclass
class _Node:
    """workers: those that are up. shards: in its hands; a shard may be there twice. outbox: yet to be sent.
    size: shards in its hands for each worker, at most. under_way: samples that are done of those in progress."""

    workers: set[int] = field(default_factory=set)
    shards: list[int] = field(default_factory=list)
    outbox: list[tuple[int, bool]] = field(default_factory=list)
    size: int = IN_FLIGHT
    under_way: int = 0


class LeasePool:
    """At most `most` workers on a cluster. clock: seconds. needs: of a worker, for people.

    Workers for which there is no room wait for it, and an autoscaler may make it. asked: somebody has said how
    many there may be, so all wait; otherwise as many as the cluster holds, so that it can double.
    """

    def __init__(
        self,
        cluster: Cluster,
        most: int,
        asked: bool = True,
        needs: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._most, self._asked, self._needs, self._clock = cluster, most, asked, needs, clock
        self._numbers = itertools.count()
        self._nodes: dict[str, _Node] = {}
        self._where: dict[int, str] = {}
        self._starting: dict[int, None] = {}
        # In turns, so that shards are spread over the nodes.
        self._idle: dict[str, None] = {}
        self._roomy: dict[str, None] = {}
        self._unsent: dict[str, None] = {}
        self._failed_starts = 0
        self.begun: list[int] = []
        self.under_way = 0
        self._created = self._seen_up = self._resized = clock()
        self._slots = 0
        self._settled = False
        """Whether workers are given a second shard. Not until the others are up, so that these find work."""
        self._resize()

    @property
    def free(self) -> bool:
        return self.idle or (self._settled and bool(self._roomy))

    @property
    def idle(self) -> bool:
        return bool(self._idle)

    def submit(self, shard: int, careful: bool = False) -> None:
        nodes = self._idle or self._roomy
        # A second copy had better be elsewhere than the first.
        name = next((name for name in nodes if shard not in self._nodes[name].shards), next(iter(nodes)))
        node = self._nodes[name]
        node.shards.append(shard)
        node.outbox.append((shard, careful))
        self._unsent[name] = None
        self._sort(name)

    def _sort(self, name: str) -> None:
        """Put the node where `submit` finds it, at the end."""
        self._idle.pop(name, None)
        self._roomy.pop(name, None)
        if (node := self._nodes.get(name)) is None:
            return
        if len(node.shards) < len(node.workers):
            self._idle[name] = None
        elif len(node.shards) < node.size * len(node.workers):
            self._roomy[name] = None

    def wait(self) -> list[Event]:
        for name in self._unsent:
            node = self._nodes[name]
            self._cluster.lease(name, node.outbox)
            node.outbox = []
        self._unsent.clear()
        events: list[Event] = []
        self.begun = []
        for message in self._cluster.wait(1.0):
            match message:
                case Started(worker, name):
                    self._welcome(worker, name)
                case NotStarted(worker, why):
                    self._start_again(worker, why)
                case Report(name, returned, dead, begun, pace, under_way):
                    self.begun += begun
                    self.under_way += under_way - self._nodes[name].under_way
                    self._nodes[name].under_way = under_way
                    events += self._settle(name, returned, dead, pace)
                case NodeLost(name):
                    events += self._forget(name)
        now = self._clock()
        self._settled = self._settled or now - self._created > SETTLE
        if now - self._resized >= RESIZE_EVERY:
            self._resize()
        self._warn_if_none()
        return events

    def _welcome(self, worker: int, name: str) -> None:
        del self._starting[worker]
        self._where[worker] = name
        self._nodes.setdefault(name, _Node()).workers.add(worker)
        self._failed_starts = 0
        self._settled = self._settled or len(self._where) >= min(self._slots, self._most)
        self._sort(name)

    def _start_again(self, worker: int, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= STARTS * max(1, min(self._slots, len(self._starting) + len(self._where))):
            raise IncompleteError(f"no worker can start; the last died of: {why}")
        self._drop(worker)
        self._fill()

    def _settle(self, name: str, events: Sequence[Event], dead: Sequence[int], pace: float) -> Sequence[Event]:
        node = self._nodes[name]
        if events:
            node.size = next_size(node.size, pace)
        for event in events:
            node.shards.remove(event.shard)
        for worker in dead:
            self._drop(worker)
        self._fill()
        self._sort(name)
        return events

    def _forget(self, name: str) -> list[Event]:
        """The node is gone: whatever it had not reported goes back uncharged."""
        node = self._nodes.pop(name, _Node())
        self.under_way -= node.under_way
        for worker in sorted(node.workers):
            self._drop(worker)
        self._sort(name)
        self._resized = -math.inf
        return [Event(shard, None) for shard in node.shards]

    def _drop(self, worker: int) -> None:
        self._cluster.stop(worker)
        self._starting.pop(worker, None)
        name = self._where.pop(worker, None)
        if name in self._nodes:
            self._nodes[name].workers.discard(worker)

    def _resize(self) -> None:
        """Have as many workers as the cluster holds by now, and some that wait. Those at work are left alone."""
        self._resized, self._slots = self._clock(), self._cluster.count_slots()
        while self._starting and len(self._where) + len(self._starting) > self._wanted:
            self._drop(next(reversed(self._starting)))
        self._fill()

    @property
    def _wanted(self) -> int:
        return self._most if self._asked else min(self._most, self._slots + max(1, min(self._slots, SPARE)))

    def _fill(self) -> None:
        for _ in range(len(self._where) + len(self._starting), self._wanted):
            worker = next(self._numbers)
            self._starting[worker] = None
            self._cluster.start(worker)

    def _warn_if_none(self) -> None:
        now = self._clock()
        if self._where:
            self._seen_up = now
        elif now - self._seen_up > WARN_EVERY:
            self._seen_up = now
            log.warning("no worker runs: waiting for a node with %s to spare", self._needs)

    def close(self) -> None:
        self._cluster.close()
