"""A stage: a function from one named shard to one named shard, done exactly once."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.errors import BrokenStage, IncompleteError
from t2i_shards.pipeline.shards.receipt import Receipt

IN_A_ROW = 100
FEW = 8
"""Pieces of work that are done sooner than a Ray is started."""


@dataclass(frozen=True)
class StageResult:
    """What came of one shard. receipts: by column. errors: a line for each sample on which the stage raised."""

    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


class Stage(Protocol):
    """Picklable; `setup` runs once in each worker, the call once for each shard."""

    @property
    def resources(self) -> Resources:
        """What one worker needs."""
        return Resources()

    def setup(self) -> None:
        """Load what all shards need, such as a model."""
        return

    @abstractmethod
    def __call__(self, shard: int) -> StageResult:
        """Make the shard and commit it. Running it again for a finished shard changes nothing."""


@runtime_checkable
class Careful(Stage, Protocol):
    """A stage that can be kept alive by something in a shard that ends a process."""

    def run_carefully(self, shard: int) -> StageResult:
        """As the call, after a worker has died over the shard: what is dangerous is done in a child process."""


class FailureLimit:
    """Stops a worker whose samples fail 100 times in a row: then the stage is broken, not the samples."""

    def __init__(self, limit: int = IN_A_ROW) -> None:
        self._limit, self._run = limit, 0

    def succeed(self) -> None:
        self._run = 0

    def fail(self, line: str) -> None:
        """Count a failure. Raises BrokenStage at the limit."""
        self._run += 1
        if self._run >= self._limit:
            raise BrokenStage(f"{self._limit} samples failed in a row, so the stage is broken; the last: {line}")


class Stopwatch:
    """Seconds from lap to lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """The seconds since the last lap, or since the start."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def refuse_total_failure(samples: int, errors: Sequence[str]) -> None:
    """Raise when the stage raised and no sample is left: an empty shard must not pass for a finished one."""
    if errors and not samples:
        raise IncompleteError(f"every sample of the shard failed; the first: {errors[0]}")
