"""A server on loopback, and a clock that does not wait."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults.hostile import Server, answer


@pytest.fixture
def server() -> Iterator[Server]:
    with Server({"/ok": answer()}) as server:
        yield server


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the guard slept: it only records that here, and its clock advances by as much."""
    naps: list[float] = []
    clock = time.monotonic

    class Clock:
        time = staticmethod(time.time)

        @staticmethod
        def monotonic() -> float:
            return clock() + sum(naps)

        sleep = staticmethod(naps.append)

    for module in ("client", "hosts", "deadline", "connection"):
        monkeypatch.setattr(f"t2i_shards.pipeline.download.{module}.time", Clock)
    return naps
