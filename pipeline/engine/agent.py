"""What runs on the nodes of a Ray cluster: the workers, and the agent that hands them the node's shards.

The driver talks to one agent a node instead of to each worker, and an agent tells it of several shards at a time.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import Any

from t2i_shards.pipeline.engine.cluster import Lease
from t2i_shards.pipeline.engine.lease_size import PATIENCE, count_surplus
from t2i_shards.pipeline.engine.pool import Event, Failure, Worker

BATCH = 1.0
"""Seconds that an agent gathers results before it reports them, as long as shards wait for its workers."""

TELL_EVERY = 10.0
"""Seconds that a node on which no shard was finished lets pass before it reports how far those under way are."""

GRACE = 5.0
"""Seconds that an agent waits before it reports the death of a worker. Where the whole node is dying the agent
dies as well, and the driver hears of a lost node instead."""


class NodeWorker(Worker):
    """A worker that knows on which node it is."""

    def report_to(self, agent: Any, number: int) -> None:
        """Have the agent told of the samples that are done of the shard in progress. number: of this worker."""
        self._tell = lambda samples: agent.count.remote(number, samples)

    def node(self) -> str:
        import ray

        node: str = ray.get_runtime_context().get_node_id()
        return node


class NodeAgent:
    """An asynchronous actor: all its methods run in one event loop. grace: seconds, see GRACE."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._waiting = asyncio.Queue[tuple[int, bool]]()
        self._events: list[Event] = []
        self._dead: list[int] = []
        self._begun: list[int] = []
        self._under_way: dict[int, int] = {}
        """Of each worker, the samples that are done of the shard that it is at."""
        self._told = -math.inf
        self._news, self._hungry = asyncio.Event(), asyncio.Event()
        self._loops = set[asyncio.Task[None]]()
        self._shedding: asyncio.Task[None] | None = None
        self._alive = self._taken = 0
        self._seconds = 0.0
        """That workers spent on the shards of `events`; infinite once a shard was given back."""

    async def adopt(self, number: int, worker: Any) -> None:
        """Have the worker take part. number: its name in the reports."""
        self._alive += 1
        self._loops.add(asyncio.create_task(self._feed(number, worker)))

    async def lease(self, shards: Lease) -> None:
        """Add shards to those that the workers are to do."""
        self._hungry.clear()
        for shard in shards:
            self._waiting.put_nowait(shard)
        if not self._alive:
            self._give_back(self._waiting.qsize())
        elif self._waiting.qsize() > self._alive and not self._shedding:
            self._shedding = asyncio.create_task(self._shed())

    async def count(self, number: int, samples: int) -> None:
        """So many samples are done of the shard that the worker is at."""
        if number not in self._under_way:
            return  # it has ended the shard: its result came first
        self._under_way[number] = samples
        if time.monotonic() - self._told >= TELL_EVERY:
            self._news.set()

    async def report(self) -> tuple[list[Event], list[int], list[int], float, int]:
        """The fields of `cluster.Report` since the last report; waits until there is news."""
        await self._news.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hungry.wait(), BATCH)
        self._news.clear()
        self._told = time.monotonic()
        pace, under_way = self._seconds / max(1, len(self._events)), sum(self._under_way.values())
        news = self._events, self._dead, self._begun, pace, under_way
        self._events, self._dead, self._begun, self._seconds = [], [], [], 0.0
        return news

    async def _feed(self, number: int, worker: Any) -> None:
        import ray

        while True:
            waited = not self._waiting.empty()
            shard, careful = await self._waiting.get()
            self._taken += 1
            began = time.monotonic()
            if waited:
                self._begun.append(shard)
            if self._waiting.empty():
                self._hungry.set()
            died = False
            self._under_way[number] = 0
            try:
                result = await worker.run.remote(shard, careful)
            except ray.exceptions.RayError as error:
                await asyncio.sleep(self._grace)
                result = Failure("death", f"the worker died ({type(error).__name__})")
                self._dead.append(number)
                died = True
            del self._under_way[number]
            self._seconds += time.monotonic() - began
            self._events.append(Event(shard, result))
            self._news.set()
            if died:
                self._alive -= 1
                if not self._alive:
                    self._give_back(self._waiting.qsize())
                return

    async def _shed(self) -> None:
        """While more shards wait than one a worker, give back those that would wait long: others may be idle."""
        while self._waiting.qsize() > self._alive:
            taken = self._taken
            await asyncio.sleep(PATIENCE)
            self._give_back(count_surplus(self._waiting.qsize(), self._alive, self._taken - taken))
        self._shedding = None

    def _give_back(self, shards: int) -> None:
        """Hand so many shards that wait back to the driver, uncharged, and tell it at once."""
        for _ in range(shards):
            self._events.append(Event(self._waiting.get_nowait()[0], None))
            self._seconds = math.inf
            self._news.set()
            self._hungry.set()
