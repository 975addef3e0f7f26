"""Shards in memory, worlds of ranks and workers that only slice positions, and what a stream gave to all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.stream import Stream
from t2i_shards.pipeline.stream.order import BlockOrder, SampleIndices
from t2i_shards.pipeline.stream.verified import OpenedShard

WORLDS = [(ranks, workers) for ranks in (1, 2, 4, 8) for workers in (0, 1, 2, 4)]
BATCH = 8


class MemoryShards:
    """What a Stream asks of its shards. opened: the shards, as often as they were opened. gone: those that are."""

    digest = "0" * 64

    def __init__(self, counts: Mapping[int, int], gone: frozenset[int] = frozenset()) -> None:
        self._counts, self._gone = counts, gone
        self.opened: list[int] = []

    def counts(self) -> Mapping[int, int]:
        return self._counts

    def open(self, shard: int) -> OpenedShard:
        self.opened.append(shard)
        if shard in self._gone:
            raise DamagedShard(f"images/{shard:06d}.tar: has a receipt, but the file is gone")
        keys = [f"s{shard:02d}-{i:02d}" for i in range(self._counts[shard])]
        return OpenedShard(keys, lambda index: Sample(keys[index], {"jpg": b"picture"}))


def memory_stream(
    shards: int = 23, size: int = 3, seed: int = 3, gone: frozenset[int] = frozenset(), quota: int = 0
) -> Stream:
    held = MemoryShards(dict.fromkeys(range(shards), size), gone)
    return Stream(held, BlockOrder(seed, SampleIndices(held.counts(), frozenset())), quota)  # type: ignore[arg-type]


def name(sample: Sample, epoch: int, *_: object) -> tuple[str, int]:
    """A `make` that tells what it was given."""
    return sample.key, epoch


def split(steps: range, ranks: int, workers: int) -> list[list[int]]:
    """The positions that each reading process of a world takes of these steps' global batches of BATCH."""
    share = BATCH // ranks
    taken: list[list[int]] = []
    for rank in range(ranks):
        for worker in range(max(1, workers)):
            own = steps[worker :: max(1, workers)]
            taken.append([t * BATCH + rank * share + i for t in own for i in range(share)])
    return taken


def run_world(
    make_stream: Callable[[], Any], steps: range, world: tuple[int, int], make: Callable[..., Any] = name
) -> tuple[list[tuple[int, Any]], list[Any]]:
    """(what all processes of a world got, by position, the stream that each of them had)"""
    got: dict[int, Any] = {}
    streams = []
    for positions in split(steps, *world):
        streams.append(make_stream())
        for position, made in streams[-1].take(iter(positions), make):
            assert position not in got
            got[position] = made
    return sorted(got.items()), streams


def epochs(stream: Any, count: int) -> Iterator[list[Any]]:
    """What `name` makes of the first epochs."""
    for epoch in range(count):
        positions = range(epoch * len(stream), (epoch + 1) * len(stream))
        yield [made for _, made in stream.take(positions, name)]


class Origin(FolderStore):
    """A store as if it were far away: `log` has a line for each time that a shard was loaded."""

    def __init__(self, folder: Path, log: Path) -> None:
        super().__init__(folder)
        self.log = log

    def load(self, path: str) -> memoryview:
        with open(self.log, "a") as file:
            file.write(f"{path}\n")
        return super().load(path)

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.load(path))

    def loads(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def send(root: Path, url: str) -> Store:
    """Bring a dataset to a store far away."""
    far = open_store(url)
    for path in sorted(root.rglob("*")):
        if path.is_file() and ".scratch" not in path.parts:
            far.create(path.relative_to(root).as_posix(), path)
    return far
