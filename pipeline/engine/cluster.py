"""The protocol of a cluster: what the driver asks of it, and what it hears from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from t2i_shards.pipeline.engine.pool import Event

Lease = Sequence[tuple[int, bool]]
"""Shards that a node is given at once: (shard, whether a worker has died over it)."""


@dataclass(frozen=True)
class Started:
    """A worker is up, on this node, and takes part in the leases of the node from now on."""

    worker: int
    node: str


@dataclass(frozen=True)
class NotStarted:
    """A worker died before it was up."""

    worker: int
    why: str


@dataclass(frozen=True)
class Report:
    """What became of shards of a node's leases, and which of its workers died meanwhile.

    begun: shards that had waited behind others and that a worker has now begun.
    pace: seconds that a shard took its worker, on average; infinite where some were given back.
    under_way: samples that are done of the shards that workers of the node are at.
    """

    node: str
    events: Sequence[Event]
    dead: Sequence[int] = ()
    begun: Sequence[int] = ()
    pace: float = math.inf
    under_way: int = 0


@dataclass(frozen=True)
class NodeLost:
    """A node is gone, with its workers and with the shards that it had not reported."""

    node: str


Message = Started | NotStarted | Report | NodeLost


class Cluster(Protocol):
    """Nodes that hold workers. Each node hands the shards of its leases to its own workers."""

    def count_slots(self) -> int:
        """How many workers the nodes of now can hold, were they idle."""

    def start(self, worker: int) -> None:
        """Start a worker on any node, as soon as one has room. It answers with Started or NotStarted."""

    def stop(self, worker: int) -> None:
        """End a worker; also one that is dead or has not started."""

    def lease(self, node: str, shards: Lease) -> None:
        """Add shards to those that the node is to do."""

    def wait(self, seconds: float) -> Sequence[Message]:
        """Block until there is news, at most so long."""

    def close(self) -> None:
        """End all workers."""
