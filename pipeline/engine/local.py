"""The pool of this machine: worker processes, each at the end of a pipe."""

from __future__ import annotations

import multiprocessing
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from t2i_shards.pipeline.engine.pool import IN_FLIGHT, Event, Failure, Worker
from t2i_shards.pipeline.interrupts import hold_interrupts
from t2i_shards.pipeline.stages.stage import Stage

# A forked child would inherit threads' locks (arrow, torch, event loops) in whatever state they were.
_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class _Process:
    process: SpawnProcess
    pipe: Connection
    shards: deque[int] = field(default_factory=deque)
    under_way: int = 0
    """Samples that are done of the first of them."""


def _work(stage: Stage, pipe: Connection) -> None:
    def tell(samples: int) -> None:
        with suppress(OSError):  # which the next result finds out
            pipe.send(samples)

    worker = Worker(stage, tell)
    while True:
        try:
            pipe.send(worker.run(*pipe.recv()))
        except (EOFError, OSError):
            # The driver is gone (reset, when it left a result unread), so there is no reader.
            return


class LocalPool:
    """`workers` processes. A worker that dies is replaced; the shard it was at has failed once."""

    def __init__(self, stage: Stage, workers: int) -> None:
        self._stage = stage
        self.begun: list[int] = []
        self._workers = [self._start() for _ in range(workers)]

    def _start(self) -> _Process:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(self._stage, theirs), daemon=True)
        with hold_interrupts():
            process.start()
        theirs.close()
        return _Process(process, ours)

    @property
    def free(self) -> bool:
        return any(len(worker.shards) < IN_FLIGHT for worker in self._workers)

    @property
    def idle(self) -> bool:
        return any(not worker.shards for worker in self._workers)

    @property
    def under_way(self) -> int:
        return sum(worker.under_way for worker in self._workers)

    def submit(self, shard: int, careful: bool = False) -> None:
        worker = min(self._workers, key=lambda w: len(w.shards))
        worker.shards.append(shard)
        # A worker that has died is found by `wait`, which hands its shards back.
        with suppress(OSError):
            worker.pipe.send((shard, careful))

    def wait(self) -> list[Event]:
        events, self.begun = list[Event](), []
        ready: list[Any] = wait([worker.pipe for worker in self._workers], timeout=1.0)
        for index, worker in enumerate(self._workers):
            if worker.pipe not in ready:
                continue
            try:
                result = worker.pipe.recv()  # an idle worker that died has a pipe to read and no shard
                worker.under_way = result if isinstance(result, int) else 0
                if isinstance(result, int):
                    continue
                events.append(Event(worker.shards.popleft(), result))
                if worker.shards:
                    self.begun.append(worker.shards[0])
            except (EOFError, OSError):
                events += self._bury(index)
        return events

    def _bury(self, index: int) -> list[Event]:
        dead = self._workers[index]
        dead.process.join(timeout=5)
        dead.pipe.close()
        self._workers[index] = self._start()
        line = f"the worker died (exit code {dead.process.exitcode})"
        return [Event(s, Failure("death", line) if i == 0 else None) for i, s in enumerate(dead.shards)]

    def close(self) -> None:
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            # An idle worker ends when its pipe does; one at work is not waited for.
            worker.process.join(timeout=0.2 if worker.shards else 5)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join()
