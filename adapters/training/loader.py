"""Loading batches: which samples a step consumes on which worker, and the processes that read them ahead.

Step t consumes the positions from t * batch on, of an endless sequence that the stream defines; worker r of R
takes the r-th R-th of them, in micro-batches. So the global batches are the same for any number of workers,
loaders and micro-batches, and the number of steps alone says how far a training has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from t2i_shards.adapters.training.batch import Batch, stack_examples
from t2i_shards.adapters.training.distributed import World
from t2i_shards.adapters.training.example import CropConfig, Example, draw_edge, make_example
from t2i_shards.extractors.budget import stored_size
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.interrupts import hold_interrupts
from t2i_shards.pipeline.plain import show_logs_plain
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import HeldOut

T = TypeVar("T")
Shape = tuple[int, int]
AHEAD = 2
"""Steps that each loader has ready, at most."""


class SampleStream(Protocol):
    """What training asks of a stream; `t2i_shards.pipeline.stream.Stream` is one."""

    digest: str

    @property
    def short_side(self) -> int | None: ...

    @property
    def removed(self) -> int: ...

    @property
    def held_out(self) -> Sequence[HeldOut]: ...

    def __len__(self) -> int: ...

    def take(
        self, positions: Iterable[int], make: Callable[[Sample, int, Shape | None], T]
    ) -> Iterator[tuple[int, T]]: ...

    def hold_out(self, count: int) -> tuple[SampleStream, list[Sample]]: ...


@dataclass(frozen=True)
class RankBatch:
    """One worker's part of each global batch, in `micro` samples at once."""

    batch: int
    micro: int
    rank: int = 0
    world_size: int = 1

    @property
    def parts(self) -> int:
        """Micro-batches of a step."""
        return self.batch // self.world_size // self.micro

    def positions(self, step: int) -> range:
        """Those of the worker in a step, micro-batch after micro-batch."""
        own = self.batch // self.world_size
        first = step * self.batch + self.rank * own
        return range(first, first + own)


class MicroBatches(IterableDataset[list[Batch]]):
    """The micro-batches of one worker, step by step from `start` on, without end.

    A loader makes whole steps, every n-th of them: those are in lanes of their own.
    """

    def __init__(
        self, stream: SampleStream, crop_config: CropConfig, seed: int, rank_batch: RankBatch, start: int
    ) -> None:
        self.stream, self.crop_config, self.seed, self.rank_batch, self.start = (
            stream,
            crop_config,
            seed,
            rank_batch,
            start,
        )

    def __iter__(self) -> Iterator[list[Batch]]:
        loader = get_worker_info()
        first, stride = (loader.id, loader.num_workers) if loader else (0, 1)
        positions = chain.from_iterable(map(self.rank_batch.positions, count(self.start + first, stride)))
        taken = self.stream.take(positions, self._make)
        for step in count(self.start + first, stride):
            yield [self._stack(taken, step) for _ in range(self.rank_batch.parts)]

    def _stack(self, taken: Iterator[tuple[int, Example]], step: int) -> Batch:
        batch = stack_examples([example for _, example in islice(taken, self.rank_batch.micro)])
        if self.crop_config.threshold == "batch":
            batch = replace(batch, edges=torch.full_like(batch.edges, draw_edge(self.seed, step)))
        return batch

    def _make(self, sample: Sample, epoch: int, shape: Shape | None) -> Example:
        crop_config = self.crop_config if shape is None else replace(self.crop_config, size=None)
        return make_example(sample, crop_config, self.seed, str(epoch))


def load_batches(batches: MicroBatches, loaders: int, world: World) -> Iterator[Batch]:
    """The micro-batches in order, read by `loaders` processes, or by this one when there are none."""
    if not loaders:
        return chain.from_iterable(batches)
    loader: DataLoader[list[Batch] | Exception] = DataLoader(
        ErrorForwarding(batches),
        batch_size=None,
        num_workers=loaders,
        prefetch_factor=AHEAD,
        # A fork would take over threads of torch, Arrow and Ray in whatever state they are.
        multiprocessing_context="spawn",
        pin_memory=world.device.type == "cuda",
    )
    with hold_interrupts():
        started = iter(loader)
    return chain.from_iterable(raise_forwarded(started))


class ErrorForwarding(IterableDataset[list[Batch] | Exception]):
    """What a loader hands over: the batches of its steps, and last the error, if there was one. Raised in the
    loader, torch would put its line at the end of a traceback.
    """

    def __init__(self, batches: Iterable[list[Batch]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Batch] | Exception]:
        show_logs_plain()
        try:
            yield from self._batches
        except (RequestError, IncompleteError) as error:
            yield error


def raise_forwarded(forwarded: Iterable[list[Batch] | Exception]) -> Iterator[list[Batch]]:
    """The batches of each step. Raises the error that a loader has handed over."""
    for batches in forwarded:
        if isinstance(batches, Exception):
            raise batches
        yield batches


def shapes_of(samples: Sequence[Sample]) -> list[Shape]:
    """(width, height) of the samples' pictures, from their JPEG headers."""
    return [stored_size(sample.members["jpg"], "JPEG") for sample in samples]
