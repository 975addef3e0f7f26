"""Which of the workers this process is. Training uses torch.distributed, however the processes were started."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from t2i_shards.pipeline.errors import RequestError

TIMEOUT = timedelta(minutes=30)
"""How long workers wait for one another; the first alone validates and makes sample pictures."""


@dataclass(frozen=True)
class World:
    """This worker's number, how many there are, and where it computes."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this worker writes: rank 0."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all workers have come here."""
        if self.world_size > 1:
            distributed.barrier()

    def broadcast(self, value: Any) -> Any:
        """Rank 0's `value`, JSON-able, on every worker. All workers must call this, at the same place."""
        if self.world_size == 1:
            return value
        text = json.dumps(value).encode()
        length = torch.tensor([len(text)], device=self.device)
        distributed.broadcast(length, src=0)
        letters = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.is_main:
            letters.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        distributed.broadcast(letters, src=0)
        return json.loads(bytes(letters.tolist()))


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """The workers that torchrun, or any other launcher of torch.distributed, has started; or just this one.

    device: "cpu", "cuda" (of several the one that LOCAL_RANK names) or "auto", a GPU where there is one. Raises
    RequestError for a GPU that is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise RequestError("--device cuda needs a GPU, and there is none; use cpu or auto")
    chosen = _choose(device)
    if distributed.is_available() and distributed.is_initialized():
        yield World(chosen, distributed.get_rank(), distributed.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield World(chosen, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def share_threads() -> int | None:
    """The cores that each of this machine's workers has to itself; None for a process without a launcher.

    torchrun and Ray leave a worker one thread, however many cores there are.
    """
    workers = os.environ.get("LOCAL_WORLD_SIZE")
    return max(1, len(os.sched_getaffinity(0)) // int(workers)) if workers else None


def _choose(device: str) -> torch.device:
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(chosen)
    return chosen
