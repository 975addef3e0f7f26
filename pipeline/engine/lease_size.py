"""How many shards a node holds for each of its workers: two, and more where a shard takes a few milliseconds.

Then the way to the driver and back takes longer than the work, and workers would wait for it.
"""

from __future__ import annotations

from t2i_shards.pipeline.engine.pool import IN_FLIGHT

MOST = 16
"""Shards in hand for each worker, at most."""
AHEAD = 0.2
"""Seconds of work that more than two shards in hand may be for a worker."""
PATIENCE = 1.0
"""Seconds after which a node gives back what it will not do in as many seconds again."""


def next_size(size: int, pace: float) -> int:
    """Shards in hand for each worker, after a report: it doubles at most, and falls at once.

    size: before. pace: seconds that a shard of the report took its worker, on average; may be infinite.
    """
    return max(IN_FLIGHT, min(2 * size, int(AHEAD / max(pace, AHEAD / MOST))))


def count_surplus(waiting: int, workers: int, taken: int) -> int:
    """How many of the shards that wait on a node it gives back. taken: begun in the last PATIENCE seconds."""
    return max(0, waiting - max(taken, workers * (IN_FLIGHT - 1)))
