"""An opened shard: the samples that may be handed out, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import overload

from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream.index import Entry, Member
from t2i_shards.pipeline.stream.verified import VerifiedShard

Located = Mapping[str, tuple[VerifiedShard, Member]]
"""member -> where it is."""


@dataclass(frozen=True)
class LocatedSample:
    """A sample in a verified file."""

    key: str
    file: VerifiedShard
    entry: Entry

    @property
    def members(self) -> Located:
        return {name: (self.file, member) for name, member in self.entry.members.items()}


def locate_samples(file: VerifiedShard) -> list[LocatedSample]:
    """The samples of a file."""
    return [LocatedSample(entry.key, file, entry) for entry in file.entries]


class Opened(Sequence[Sample]):
    """The samples of a shard, in its order. keys: of all. read: gives the sample of an index.

    removed: keys of samples that have a place in the order but are no longer handed out; see `has`.
    The members of a sample are bytes of its own, so that it can be kept and sent to other processes.
    """

    def __init__(
        self, keys: Sequence[str], read: Callable[[int], Sample], removed: AbstractSet[str] = frozenset()
    ) -> None:
        self.keys, self._read, self._removed = keys, read, removed

    def has(self, index: int) -> bool:
        """Whether the sample of this index may be handed out."""
        return self.keys[index] not in self._removed

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Raises DamagedShard for a sample whose bytes are no longer those that were verified."""
        if isinstance(index, slice):
            return [self._read(i) for i in range(*index.indices(len(self)))]
        return self._read(range(len(self))[index])


def open_samples(located: Sequence[tuple[str, Located]], removed: AbstractSet[str] = frozenset()) -> Opened:
    """The samples with these keys and members. removed: see `Opened`."""

    def read(index: int) -> Sample:
        key, members = located[index]
        return Sample(key, {name: shard.read(member) for name, (shard, member) in members.items()})

    return Opened([key for key, _ in located], read, removed)
