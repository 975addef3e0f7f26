"""`ShardDataset`: a dataset's samples for a torch DataLoader, divided among ranks and workers, each once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from t2i_shards.adapters.decoded import DecodeConfig, decode_sample
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream import Extent, Lanes, Stream, choose_lanes, measure_extent, open_stream
from t2i_shards.pipeline.stream.share import count_ranks, find_loader, find_rank, own_positions


@dataclass(frozen=True)
class Order:
    """What decides the order of the samples, as a state records it. digest: of the data."""

    seed: int
    shards: int
    stones: int
    lanes: tuple[int, int, int]
    digest: str


class ShardDataset(IterableDataset[dict[str, Any]]):
    """The samples of a dataset that `ingest` and `extract` made, in an order of (seed, epoch), verified.

    Every iteration gives one epoch. A sample is a dict: "key", "caption" (one of its captions), "image" (uint8
    (3, H, W) RGB), and a control image, uint8 (C, H, W), under the name of each of `columns`. That of `condition`
    is called "control_image", whatever the condition. With `decode=False` it is the members' bytes by name, with
    "__key__", as WebDataset has them.

    The workers of a DataLoader share the samples: each comes once. In several ranks say who divides them:
    `split_ranks=True` gives each rank its own (then don't hand the DataLoader to `accelerator.prepare`, which
    would divide once more), `split_ranks=False` gives each rank all, for `accelerator.prepare` to divide.

    batch_size: that of the DataLoader. These many samples stay together, so the n-th batch is the same for any
    number of workers, and `state_dict(batches)` is exact. With several ranks each gets the same number of batches:
    what is left of an epoch, less than a batch for each rank, is dropped unless `drop_uneven=False`.
    size: side of a random square crop, else the pictures as they are stored. flip: mirror half of them. Crop, flip
    and caption of a sample depend on (seed, epoch, key) alone. transform: applied to each dict. duplicates: False
    leaves out what ingest marked as duplicates. cache: folder for shards of a bucket.

    Raises RequestError for a column that is not there or not whole; while iterating, DamagedShard for bytes that
    are not what their receipts say.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        columns: Sequence[str] = (),
        condition: str | None = None,
        *,
        batch_size: int = 1,
        size: int | None = None,
        flip: bool = False,
        decode: bool = True,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        seed: int = 0,
        duplicates: bool = True,
        split_ranks: bool | None = None,
        drop_uneven: bool = True,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        if batch_size < 1:
            raise RequestError(f"batch_size must be at least 1, not {batch_size}")
        self.root, self.batch_size, self.seed = os.fspath(root), batch_size, seed
        self.rank, self.ranks = _find_share(split_ranks)
        self._decode = DecodeConfig(tuple(columns), condition, size, flip, seed) if decode else None
        self._columns = self._decode.columns if self._decode else tuple(columns)
        self._duplicates, self._cache = duplicates, Path(cache) if cache is not None else None
        self._drop_uneven, self._transform = drop_uneven, transform
        extent = measure_extent(Dataset.open(self.root))
        self._open(extent, choose_lanes(batch_size * self.ranks, [extent.shards]))
        # In shared memory, where workers that outlive an epoch see what `set_epoch` says.
        # epoch, its first position, whether workers read, how often the order was changed
        self._shared = torch.zeros(4, dtype=torch.int64).share_memory_()
        self._changes = 0
        self._position: int | None = None
        self._resumed: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        """Samples that this rank is given in an epoch."""
        whole, rest = divmod(self._stop(0), self.batch_size * self.ranks)
        return whole * self.batch_size + min(max(rest - self.rank * self.batch_size, 0), self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """What the next iteration gives, from its start; to be called before each, as with torch's samplers."""
        if epoch < 0:
            raise RequestError(f"an epoch must be at least 0, not {epoch}")
        self._move(epoch, 0)

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """Where the epoch is, and what decides the order; numbers and strings alone.

        batches: how many of this iteration's batches the rank has used; needed where a DataLoader's workers read,
        who are ahead. Without it the position is that of this copy: right with no workers, and in the workers of
        torchdata's StatefulDataLoader. Ranks that used as many batches have the same state.
        """
        epoch, position, begun = self._where()
        if batches is not None:
            position = begun = begun + batches * self.batch_size * self.ranks
        elif self._position is not None:
            position = self._position
            begun = begun if get_worker_info() else position
        elif self._shared[2] and get_worker_info() is None:
            raise RequestError(
                "workers read ahead of what is used, so say state_dict(batches=N) with N batches used"
            )
        last = len(self._stream)
        where = {"epoch": epoch, "position": min(position, last), "begun": min(begun, last)}
        return {**where, "order": asdict(self._order)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue there, in the order of then: with any numbers of ranks and workers, and if the dataset grew.

        Raises RequestError for a state of other data or another seed.
        """
        order = Order(**{**state["order"], "lanes": tuple(state["order"]["lanes"])})
        if order.seed != self.seed:
            raise RequestError(
                f"the state is of seed {order.seed}, and this dataset was made with seed {self.seed}"
            )
        if order != self._order:
            self._open(Extent(order.shards, order.stones), Lanes(*order.lanes))
            self._changes += 1
            if get_worker_info() is None:
                self._shared[3] = self._changes
        if order.digest != self._stream.digest:
            raise RequestError(f"the state is of other data than {self.root} holds, or of other columns")
        if get_worker_info() is None:
            self._move(int(state["epoch"]), int(state["position"]))
        else:
            self._position = None
            self._resumed = int(state["epoch"]), int(state["position"]), int(state["begun"])

    def __iter__(self) -> Iterator[Any]:
        worker, workers = find_loader()
        epoch, position, begun = self._where()
        if get_worker_info() is not None:
            self._shared[2] = 1
            if self._resumed is None and self._changes != self._shared[3]:
                raise RequestError("a state of another order was loaded while workers ran: make a new DataLoader")
        # Batches are dealt out from where this world began: first to the ranks, then to the workers of each.
        part, parts = self.rank + self.ranks * worker, self.ranks * workers
        dealt = own_positions(position - begun, self._stop(begun) - begun, self.batch_size, part, parts)
        first = epoch * len(self._stream) + begun
        taken = self._stream.take([first + position for position in dealt], _keep)
        try:
            for position, sample in taken:
                self._position = position - epoch * len(self._stream) + 1
                yield self._make(sample, epoch)
            self._resumed = None
        finally:
            taken.close()

    def _where(self) -> tuple[int, int, int]:
        """(epoch, position at which to read on, position at which the workers began to take turns)."""
        epoch, start = self._shared[:2].tolist()
        return self._resumed or (epoch, start, start)

    def _make(self, sample: Sample, epoch: int) -> Any:
        if self._decode is None:
            made: dict[str, Any] = {"__key__": sample.key, **{n: bytes(m) for n, m in sample.members.items()}}
        else:
            made = decode_sample(sample, self._decode, epoch)
        return self._transform(made) if self._transform is not None else made

    def _stop(self, begun: int) -> int:
        """Where an epoch ends for ranks that began at this position of it."""
        uneven = (len(self._stream) - begun) % (self.batch_size * self.ranks)
        return len(self._stream) - (uneven if self._drop_uneven and self.ranks > 1 else 0)

    def _move(self, epoch: int, position: int) -> None:
        self._shared[0], self._shared[1], self._shared[2] = epoch, position, 0
        self._position = None

    def _open(self, extent: Extent, lanes: Lanes) -> None:
        self._stream: Stream = open_stream(
            self.root,
            self._columns,
            self.seed,
            self._duplicates,
            cache=self._cache,
            extent=extent,
            lanes=lanes,
        )
        numbers = lanes.batch, lanes.slots, lanes.phases
        self._order = Order(self.seed, extent.shards, extent.stones, numbers, self._stream.digest)


def _keep(sample: Sample, epoch: int, shape: object) -> Sample:
    return sample


def _find_share(split_ranks: bool | None) -> tuple[int, int]:
    """(rank, ranks) among which the samples are divided. RequestError where `split_ranks` is needed and not
    given."""
    ranks = count_ranks()
    if ranks == 1 or split_ranks is False:
        return 0, 1
    if split_ranks is None:
        raise RequestError(
            f"this is one of {ranks} processes: say split_ranks=True for samples of its own, or split_ranks=False "
            "where accelerator.prepare divides the DataLoader"
        )
    return find_rank(), ranks
