"""The index of names: which shards hold the row of a key, address, path or digest, without reading every plan.

For each finished thousand of shards there are tables of (hash of a name, shard), cut by the leading bits of the
hash, so that one name needs one small file of each thousand. They are made of the plans and of rows.parquet, which
stay the truth: a row is looked for there, and shards without an index are read whole. A file is named after the
digest of its shards' receipts, so one of an earlier state is never taken for the present one. It can be deleted at
any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import read_rows
from t2i_shards.pipeline.dataset.roll_up import LEAST, THOUSAND, folder
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable, to_numbers
from t2i_shards.pipeline.shards.store import AT_ONCE, Store
from t2i_shards.pipeline.shards.table import decode_table, encode_table
from t2i_shards.pipeline.sources.row import URLS, Row

log = logging.getLogger(__name__)

FOLDER = folder(IMAGES)
PREFIX = "names-1-"
"""With a version, to be raised when what is indexed, or how it is divided, changes."""
NAME = re.compile(PREFIX + r"(\d{6,})-(\d{6,})\.([0-9a-f]{64})\.(\d+)-of-(\d+)\.parquet")
SCHEMA = pa.schema([("name", pa.uint64()), ("shard", pa.int32())])
"""Ascending, each pair once. The table's metadata has a sha256 of its path and its columns' bytes."""
PART = 1 << 18
"""Names in a file, about."""


def list_urls(row: Row) -> tuple[str, ...]:
    """The addresses of the row's picture."""
    return (row.location, *(str(row.extra.get(name) or "") for name in URLS))


def list_paths(row: Row, source: Mapping[str, Any]) -> tuple[str, ...]:
    """The paths of the row's picture: as the plan has it, in its folder, and from the working directory.

    source: as dataset.json describes it.
    """
    folder = source.get("folder")
    if not isinstance(folder, str):
        return (row.location,)
    whole = f"{folder.rstrip('/')}/{row.location}"
    return (row.location, whole) if "://" in folder else (row.location, whole, os.path.relpath(whole))


def list_locations(path: str, source: Mapping[str, Any]) -> tuple[str, ...]:
    """The locations that a row may have for which `list_paths` gives this path."""
    folder = source.get("folder")
    if not isinstance(folder, str):
        return (path,)
    within = path.removeprefix(f"{folder.rstrip('/')}/")
    return (path, within) if "://" in folder else (path, within, os.path.relpath(path, folder))


@dataclass(frozen=True)
class Piece:
    """Shards that were planned together, at most a thousand, and the digest of their receipts."""

    shards: range
    state: str

    def path(self, part: int, parts: int) -> str:
        """images/rollups/names-1-000000-000999.81bc….3-of-16.parquet: hashes that begin with 3 of 0 to 15."""
        first, last = shard_name(self.shards[0]), shard_name(self.shards[-1])
        return f"{FOLDER}/{PREFIX}{first}-{last}.{self.state}.{part}-of-{parts}.parquet"


def list_pieces(dataset: Dataset, images: ReceiptTable) -> Iterator[Piece]:
    """Those whose shards are all done. images: the receipts that are there."""
    for segment in dataset.segments if len(dataset.shards) >= LEAST else ():
        for start in range(segment.first // THOUSAND * THOUSAND, segment.numbers.stop, THOUSAND):
            shards = range(max(start, segment.first), min(start + THOUSAND, segment.numbers.stop))
            receipts = images.within(shards.start, shards.stop)
            if len(receipts) == len(shards):
                yield Piece(shards, receipts.digest)


@dataclass
class Index:
    """The files that there are of a piece, by their number, of so many `parts`."""

    parts: int
    paths: dict[int, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return len(self.paths) == self.parts


def list_indices(store: Store) -> dict[Piece, Index]:
    """What there is, of the present state and of earlier ones."""
    found: dict[Piece, Index] = {}
    for match in map(NAME.fullmatch, store.names_from(FOLDER, (PREFIX,))):
        if match:
            piece = Piece(range(int(match[1]), int(match[2]) + 1), match[3])
            found.setdefault(piece, Index(int(match[5]))).paths[int(match[4])] = f"{FOLDER}/{match[0]}"
    return found


def hash_name(text: str) -> int:
    """64 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def index_names(dataset: Dataset, piece: Piece, images: ReceiptTable) -> None:
    """Make the index of a piece. images: its receipts. Raises DamagedShard."""
    names, shards = list[np.ndarray](), list[np.ndarray]()
    for shard in piece.shards:
        hashes = {hash_name(name) for name in _names_in(dataset, shard, images) if name}
        names.append(np.fromiter(hashes, np.uint64, len(hashes)))
        shards.append(np.full(len(hashes), shard, np.int32))
    name, number = np.concatenate(names), np.concatenate(shards)
    order = np.argsort(name, kind="stable")
    name, number = name[order], number[order]
    parts = 1 << (len(name) // PART).bit_length()
    edges = [np.searchsorted(name, np.uint64((part << 64) // parts)) for part in range(parts)]
    for part, (begin, end) in enumerate(zip(edges, [*edges[1:], len(name)], strict=True)):
        path, columns = piece.path(part, parts), (name[begin:end], number[begin:end])
        table = pa.table([pa.array(column) for column in columns], SCHEMA)
        data = encode_table(table.replace_schema_metadata({"sha256": _digest(path, *columns)}))
        dataset.store.create_bytes(path, data)


def _names_in(dataset: Dataset, shard: int, images: ReceiptTable) -> Iterator[str | None]:
    """What may name a row of the shard."""
    for row in dataset.plan(shard):
        yield from (row.key, row.digest, *list_urls(row))
    yield from read_rows(dataset.store, images[shard])["sha256"].to_pylist()


def find_shards(dataset: Dataset, names: Collection[str]) -> list[int]:
    """The shards that may hold a row of one of these names: keys, locations, addresses, sha256 in lower case.

    Those without an index are among them, and a few that do not hold any.
    """
    indices = list_indices(dataset.store) if len(dataset.shards) >= LEAST else {}
    if not indices:
        return list(dataset.shards)
    hashes, found = [hash_name(name) for name in names], set(dataset.shards)
    images = dataset.receipts(IMAGES, damaged=[], done=dataset.done_by_roll_ups(IMAGES))
    pieces = list_pieces(dataset, images)
    indexed = [piece for piece in pieces if piece in indices and indices[piece].whole]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        hits = threads.map(lambda piece: _look_up(dataset.store, indices[piece], hashes), indexed)
        for piece, hit in zip(indexed, hits, strict=True):
            if hit is not None:
                found -= set(piece.shards) - hit
    return sorted(found)


def _look_up(store: Store, index: Index, hashes: Iterable[int]) -> set[int] | None:
    """The shards that may hold one of these; None where the index is damaged."""
    by_part: dict[int, list[int]] = defaultdict(list)
    for value in hashes:
        by_part[value * index.parts >> 64].append(value)
    found = set[int]()
    for part, values in by_part.items():
        try:
            name, shard = read_names(store, index.paths[part])
        except DamagedShard as error:
            log.warning("an index is ignored: %s", error)
            return None
        found.update(shard[np.isin(name, np.array(values, np.uint64))].tolist())
    return found


def read_names(store: Store, path: str) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 (N,), int32 (N,)), hashes of names and their shards. Raises DamagedShard."""
    try:
        table = decode_table(store.load(path), path, SCHEMA, whole=SCHEMA.names)
    except FileNotFoundError:
        raise DamagedShard(f"{path}: gone") from None
    name, shard = map(to_numbers, table.columns)
    if (table.schema.metadata or {}).get(b"sha256") != _digest(path, name, shard).encode():
        raise DamagedShard(f"{path}: its names are not those that were written")
    return name, shard


def _digest(path: str, name: np.ndarray, shard: np.ndarray) -> str:
    return hashlib.sha256(path.encode() + name.tobytes() + shard.tobytes()).hexdigest()
