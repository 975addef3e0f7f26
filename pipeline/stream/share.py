"""Which part of an epoch a process reads: each rank, and each worker of its DataLoader, has its own positions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream.block import Make


def check_ranks(rank: int, ranks: int | None) -> int:
    """How many ranks share an epoch.

    Raises RequestError in one of several ranks that does not say which samples are its own: if we divided them and
    `accelerator.prepare` did so again, samples would be lost; if neither did, each would come once per rank.
    """
    if ranks is None:
        world = count_ranks()
        if world > 1:
            raise RequestError(
                f"this is one of {world} processes, and samples() needs to know which samples are its own: "
                f"samples(epoch, rank=RANK, ranks={world}), with accelerate samples(epoch, "
                "rank=accelerator.process_index, ranks=accelerator.num_processes); or ranks=1 where "
                "accelerator.prepare divides the DataLoader"
            )
        return 1
    if not 0 <= rank < ranks:
        raise RequestError(f"rank must be one of 0 to {ranks - 1}, not {rank}")
    return ranks


def count_ranks() -> int:
    """Processes that train together, as torch.distributed or its launcher's environment has it."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    world = os.environ.get("WORLD_SIZE", "1")
    return int(world) if world.isdecimal() else 1


def find_rank() -> int:
    """The number of this process among those that `count_ranks` counts."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    rank = os.environ.get("RANK", "0")
    return int(rank) if rank.isdecimal() else 0


def find_loader() -> tuple[int, int]:
    """(number of this worker, workers) of a torch DataLoader; (0, 1) outside of one."""
    data = sys.modules.get("torch.utils.data")
    worker = data.get_worker_info() if data is not None else None
    return (worker.id, worker.num_workers) if worker is not None else (0, 1)


class Taking(Protocol):
    """What a stream and a mixture of streams have in common."""

    @property
    def batch(self) -> int: ...

    def __len__(self) -> int: ...

    def take(self, positions: Iterable[int], make: Make[Sample]) -> Iterator[tuple[int, Sample]]: ...


def read_share(stream: Taking, epoch: int, start: int, rank: int, ranks: int) -> Iterator[Sample]:
    """The samples of an epoch, from `start` on, that are of this rank and this worker of its DataLoader."""
    first, stop = epoch * len(stream), (epoch + 1) * len(stream)
    worker, workers = find_loader()
    positions = own_positions(min(first + start, stop), stop, stream.batch, rank + ranks * worker, ranks * workers)
    for _, sample in stream.take(positions, lambda sample, epoch, shape: sample):
        yield sample


def own_positions(start: int, stop: int, batch: int, part: int, parts: int) -> Sequence[int]:
    """Of the positions from `start` to before `stop`, every parts-th batch: those whose number is `part` beyond a
    multiple of `parts`, so that a part has the same lanes wherever it starts. Positions ascend."""
    first = start // batch
    batches = range(first + (part - first) % parts, -(-stop // batch), parts)
    if batch == 1:
        return batches
    return [p for b in batches for p in range(max(start, b * batch), min(stop, (b + 1) * batch))]
