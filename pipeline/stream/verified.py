"""Verified shards: all bytes of a shard are compared once on a machine, however many processes read it.

The process that verifies a shard leaves its index in a folder that those of the same user share, under a name
that is made of the shard's sha256 and of what the kernel knows of the file (device, number, size, times of the
last change): an index is valid for one file as it was when it was verified. Where the folder cannot be written,
every process verifies for itself.

Of an opened shard each sample is read when it is asked for.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, overload

import msgspec

from t2i_shards.extractors.atomic import write_file
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.scratch import temporary_folder
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream.index import Entry, Member, Vouched, index_shard, read_member
from t2i_shards.pipeline.stream.locks import locked

BOUND = 256 << 20
"""Bytes of all indexes; one of a thousand samples in five columns has about 200 kB."""
MOST = 4096
"""Indexes at most. Small shards, of which there may be more, are quickly verified again."""
TRIM_EVERY = 32
"""One save in so many looks at all indexes, so that opening a shard does not cost more the more there are."""
_ENTRIES = msgspec.msgpack.Decoder(list[Entry])


@dataclass(frozen=True)
class VerifiedShard:
    """An open file, and the index of its samples. The file is closed with the last reference to it."""

    file: BinaryIO
    entries: Sequence[Entry]
    vouched: Vouched

    def read(self, member: Member) -> bytes:
        """The bytes of a member. Raises DamagedShard when they are no longer those that were verified."""
        try:
            return read_member(self.file, member, self.vouched)
        except DamagedShard:
            forget(self.file, self.vouched)  # the next to open it verifies the whole again
            raise


def open_verified(file: BinaryIO, vouched: Vouched) -> VerifiedShard:
    """The shard, after this process or another one of this machine has verified the file. Raises DamagedShard."""
    path = _index_path(file, vouched)
    if path is None:
        return VerifiedShard(file, index_shard(file, vouched), vouched)
    entries = _load(path)
    if entries is None:
        with _lock(path.parent, vouched.sha256[:2]):
            entries = _load(path)
            if entries is None:
                entries = index_shard(file, vouched)
                _save(path, entries)
    return VerifiedShard(file, entries, vouched)


def note(file: BinaryIO, vouched: Vouched, entries: Sequence[Entry]) -> VerifiedShard:
    """The shard in a file that was made of bytes which were verified, with this index."""
    if (path := _index_path(file, vouched)) is not None:
        _save(path, entries)
    return VerifiedShard(file, entries, vouched)


def forget(file: BinaryIO, vouched: Vouched) -> None:
    """Have the file verified again when it is opened next."""
    if (path := _index_path(file, vouched)) is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _index_path(file: BinaryIO, vouched: Vouched) -> Path | None:
    """Where the index of the file is; None for bytes in memory, and where no folder can be used."""
    if isinstance(file, io.BytesIO):
        return None
    try:
        folder = temporary_folder() / "verified"
        folder.mkdir(exist_ok=True)
    except (OSError, RequestError):
        return None
    s = os.fstat(file.fileno())
    identity = (vouched.sha256, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
    return folder / f"{hashlib.sha256(repr(identity).encode()).hexdigest()}.index"


def _load(path: Path) -> list[Entry] | None:
    try:
        entries = _ENTRIES.decode(path.read_bytes())
        os.utime(path)
    except (OSError, msgspec.DecodeError):
        return None
    return entries


def _save(path: Path, entries: Sequence[Entry]) -> None:
    with suppress(OSError):
        write_file(path, msgspec.msgpack.encode(entries))
        if int(path.stem[:8], 16) % TRIM_EVERY == 0:  # the name is a digest
            _trim(path.parent)


def _trim(folder: Path) -> None:
    """Remove the indexes that were used longest ago, down to the bounds."""
    found = sorted((file.stat().st_mtime_ns, file.stat().st_size, file) for file in folder.glob("*.index"))
    excess = sum(size for _, size, _ in found) - BOUND
    for place, (_, size, file) in enumerate(found):
        if excess <= 0 and len(found) - place <= MOST:
            break
        file.unlink(missing_ok=True)
        excess -= size


@contextmanager
def _lock(folder: Path, name: str) -> Iterator[None]:
    """One process verifies while the others wait; a lock for every digest would leave a file for each."""
    try:
        (folder / "locks").mkdir(exist_ok=True)
        file = open(folder / "locks" / name, "ab")  # noqa: SIM115
    except OSError:
        yield
        return
    with file, locked(file):
        yield


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


class OpenedShard(Sequence[Sample]):
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


def open_samples(located: Sequence[tuple[str, Located]], removed: AbstractSet[str] = frozenset()) -> OpenedShard:
    """The samples with these keys and members. removed: see `OpenedShard`."""

    def read(index: int) -> Sample:
        key, members = located[index]
        return Sample(key, {name: shard.read(member) for name, (shard, member) in members.items()})

    return OpenedShard([key for key, _ in located], read, removed)
