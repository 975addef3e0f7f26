"""Published shards as our own stream reads them: verified, in an order that is a function of seed and epoch."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from t2i_shards.extractors.records import BadRecord, Count, decode_record
from t2i_shards.pipeline.dataset.tombstones import LeftOut
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.publish.assignment import Target
from t2i_shards.pipeline.publish.pack import DATA, data_path
from t2i_shards.pipeline.publish.plan import MANIFEST, SUMS
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.read import gone
from t2i_shards.pipeline.shards.receipt import Receipt, SampleCount, check_sha256, digest_json, to_compact_json
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.stream import Stream
from t2i_shards.pipeline.stream.cache import ShardCache, open_cache, open_vouched
from t2i_shards.pipeline.stream.index import Vouched
from t2i_shards.pipeline.stream.order import BlockOrder, SampleIndices
from t2i_shards.pipeline.stream.verified import OpenedShard, locate_samples, open_samples


@dataclass(frozen=True)
class Line:
    """A line of manifest.jsonl: one published shard. removed: samples whose places were left empty later."""

    name: str
    split: str
    samples: SampleCount
    bytes: Count
    sha256: str
    members: tuple[str, ...]
    removed: Count = 0

    def encode(self) -> builtins.bytes:
        return to_compact_json(asdict(self)) + b"\n"


def read_manifest(store: Store) -> list[Line]:
    """The shards of a publication. RequestError when there is none, or only a part of one; DamagedShard."""
    if SUMS not in store.names(""):
        raise RequestError(
            f"{store.root} is not a complete publication: {SUMS}, which is written last, is not there"
        )
    try:
        lines = bytes(store.load(MANIFEST)).split(b"\n")
        return [decode_record(line, Line, closed=True) for line in lines if line]
    except FileNotFoundError:
        raise DamagedShard(f"{store.root}/{MANIFEST}: is gone; publish again") from None
    except BadRecord as error:
        raise DamagedShard(tell_damage(f"{store.root}/{MANIFEST}", f"a line {error}")) from None


class PackedShards:
    """A ShardSource: shard n is line n. digest, data: of every byte that can be handed out."""

    def __init__(self, store: Store, lines: Sequence[Line], cache: ShardCache | None = None) -> None:
        self.store, self.lines, self._cache = store, tuple(lines), cache
        self.root = store.root
        self.digest = self.data = digest_json([line.sha256 for line in lines])
        self.removed: LeftOut = {}

    def counts(self) -> dict[int, int]:
        return {number: line.samples for number, line in enumerate(self.lines)}

    def open(self, shard: int) -> OpenedShard:
        """The samples, after all bytes agreed with the manifest. Raises DamagedShard."""
        line = self.lines[shard]
        vouched = Vouched(line.name, line.bytes, line.sha256, line.samples)
        found = locate_samples(open_vouched(self.store, vouched, self._cache))
        return open_samples([(sample.key, sample.members) for sample in found])


def load_line(store: Store, line: Line) -> memoryview:
    """The bytes of a published shard, after their digest was compared. Raises DamagedShard."""
    try:
        data = store.load(line.name)
    except FileNotFoundError:
        raise gone(line.name) from None
    check_sha256(line.name, hashlib.sha256(data).hexdigest(), line.sha256)
    return data


def stream_lines(store: Store, lines: Sequence[Line], seed: int = 0, cache: ShardCache | None = None) -> Stream:
    """The stream of these shards."""
    shards = PackedShards(store, lines, cache)
    return Stream(shards, BlockOrder(seed, SampleIndices(shards.counts(), frozenset())))


def open_published(
    root: str, split: str = "train", seed: int = 0, *, cache: Path | None = None, cache_bytes: int | None = None
) -> Stream:
    """The stream of one split of the publication at `root`. Raises RequestError.

    cache, cache_bytes: as in `t2i_shards.pipeline.stream.open_stream`.
    """
    store = open_store(root)
    lines = read_manifest(store)
    chosen = [line for line in lines if line.split == split]
    if not any(line.name.startswith(f"{DATA}/") for line in lines):
        raise RequestError(
            f"{root} was published with --layout columns; t2i_shards.pipeline.stream.open_stream reads it"
        )
    if not chosen:
        had = ", ".join(sorted({line.split for line in lines}))
        raise RequestError(f"{root} has no split {split!r}; it has {had}")
    kept = open_cache(store, [line.bytes for line in chosen], cache, cache_bytes)
    return stream_lines(store, chosen, seed, kept)


def line_of(target: Target, receipt: Receipt, members: Sequence[str]) -> Line:
    """The line of a shard that is done."""
    return Line(
        name=data_path(target),
        split=target.split,
        samples=receipt.samples,
        bytes=receipt.bytes,
        sha256=receipt.sha256,
        members=tuple(members),
        removed=receipt.drops.get("removed", 0),
    )


def by_split(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """split -> its shards, in order."""
    splits: dict[str, list[Line]] = {}
    for line in lines:
        splits.setdefault(line.split, []).append(line)
    return splits
