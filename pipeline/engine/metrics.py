"""What a run on Ray has done so far, as metrics: Ray's own exporter on each node offers them to Prometheus.

Prometheus sees them as ray_t2i_shards_…, and those that count with _total at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from t2i_shards.pipeline.stages.stage import StageResult

PREFIX = "t2i_shards_"


class RunMetrics:
    """shards: how many the run has to do."""

    def __init__(self, shards: int) -> None:
        from ray.util.metrics import Counter, Gauge

        self._left = shards
        self._waiting: Any = Gauge(f"{PREFIX}waiting", "Shards that are neither made nor set aside yet.")
        self._shards: Any = Counter(f"{PREFIX}shards", "Shards by outcome: made, set aside.", ("outcome",))
        self._samples: Any = Counter(f"{PREFIX}samples", "Samples by column.", ("column",))
        self._bytes: Any = Counter(f"{PREFIX}bytes", "Bytes of tars by column.", ("column",))
        self._drops: Any = Counter(f"{PREFIX}drops", "Dropped samples by column and reason.", ("column", "reason"))
        self._waiting.set(shards)

    def follow(
        self, progress: Callable[[int, StageResult | None], None] | None
    ) -> Callable[[int, StageResult | None], None]:
        """A progress callback that counts, and calls `progress` as well."""

        def advance(shard: int, made: StageResult | None) -> None:
            self._count(made)
            if progress:
                progress(shard, made)

        return advance

    def _count(self, made: StageResult | None) -> None:
        self._left -= 1
        self._waiting.set(self._left)
        self._shards.inc(1, {"outcome": "set aside" if made is None else "made"})
        for column, receipt in made.receipts.items() if made else ():
            for counter, count, tags in (
                (self._samples, receipt.samples, {}),
                (self._bytes, receipt.bytes, {}),
                *((self._drops, dropped, {"reason": reason}) for reason, dropped in receipt.drops.items()),
            ):
                if count:  # Ray refuses to add nothing
                    counter.inc(count, {"column": column, **tags})
