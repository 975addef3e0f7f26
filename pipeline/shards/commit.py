"""The commit protocol: a shard's tar, the files that go with it, and last its receipt, each created once.

A crash leaves at most whole files without a receipt, which the next attempt takes up. A race has one winner;
the loser adopts what is there. `commit` alone knows the order of the steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.folder_store import map_file
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.sample import Sample, digest_keys
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.tar import TarWriter, read_samples

Extra: TypeAlias = Mapping[str, bytes]
"""path -> bytes of the files that go with a tar."""
Adopt: TypeAlias = Callable[[Store, str, Receipt, Extra], tuple[Receipt, Extra]]
"""What to finish with where a tar is at this path without a receipt: given ours, gives those that fit that tar.

Raises DamagedShard for a tar of unknown origin.
"""
Committer: TypeAlias = Callable[[Store, Path, Receipt, Extra], Receipt]
"""Publishes a tar, the files that go with it and last its receipt. Returns the receipt that counts."""


def tar_path(column: str, shard: int) -> str:
    """images/000012.tar"""
    return f"{column}/{shard_name(shard)}.tar"


def receipt_path(column: str, shard: int) -> str:
    """images/000012.json"""
    return f"{column}/{shard_name(shard)}.json"


@dataclass(frozen=True)
class ShardPaths:
    """Where the tar of a shard and its receipt are stored."""

    tar: str
    receipt: str


def column_paths(column: str, shard: int) -> ShardPaths:
    """The paths of a column's shard."""
    return ShardPaths(tar_path(column, shard), receipt_path(column, shard))


def commit_samples(
    store: Store,
    samples: Iterable[Sample],
    *,
    column: str,
    shard: int,
    planned: int,
    recipe: str,
    input_digest: str | None = None,
    drops: Mapping[str, int] | None = None,
    dropped: Mapping[str, str] | None = None,
    rows: str | None = None,
    seconds: float = 0.0,
    extra: Extra | None = None,
    by: Committer | None = None,
) -> Receipt:
    """Write the samples as a shard and commit it. The receipt that counts: ours, or an earlier attempt's.

    The fields are those of Receipt. extra: path -> bytes, published between the tar and the receipt. by: `commit`
    unless said otherwise.
    """
    with store.scratch() as scratch:
        tar = scratch / f"{shard_name(shard)}.tar"
        count, size, sha256, keys = write_shard(samples, tar)
        receipt = Receipt(
            column=column,
            shard=shard,
            planned=planned,
            samples=count,
            bytes=size,
            sha256=sha256,
            keys=digest_keys(keys),
            recipe=recipe,
            input=input_digest,
            drops=drops or {},
            dropped=dropped or {},
            rows=rows,
            seconds=round(seconds, 3),
        )
        return (by or commit)(store, tar, receipt, extra or {})


def write_shard(samples: Iterable[Sample], path: Path) -> tuple[int, int, str, list[str]]:
    """Write the samples to `path` and read them back. (samples, bytes, sha256, keys)"""
    keys = []
    with open(path, "xb", buffering=1 << 20) as file:
        writer = TarWriter(file)
        for sample in samples:
            writer.add(sample)
            keys.append(sample.key)
        sha256 = writer.close()
    written = map_file(path)
    if hashlib.sha256(written).hexdigest() != sha256 or [s.key for s in read_samples(written)] != keys:
        raise OSError(f"{path.name} reads back with other bytes or keys than were written")
    return len(keys), writer.bytes, sha256, keys


def adopt_same(store: Store, path: str, receipt: Receipt, extra: Extra) -> tuple[Receipt, Extra]:
    """Ours, for a tar without a receipt that has the very bytes we made; else DamagedShard.

    The attempt that wrote it stopped before the end, so other bytes cannot be trusted: they may be made from other
    input, or damaged since.
    """
    if hashlib.sha256(store.load(path)).hexdigest() != receipt.sha256:
        raise DamagedShard(f"{path} has no receipt and other bytes than are made now; delete it")
    return receipt, extra


def commit(
    store: Store,
    tar: Path | bytes | None,
    receipt: Receipt,
    extra: Extra,
    adopt: Adopt = adopt_same,
    paths: ShardPaths | None = None,
) -> Receipt:
    """Create `tar`, then `extra`, then `receipt`. Returns the receipt in the store: ours, or that of the first.

    tar: a local file, or its bytes; None for a shard that is published without one. paths: those of the column's
    shard unless given.
    Raises DamagedShard where a file of an attempt that died does not fit.
    """
    paths = paths or column_paths(receipt.column, receipt.shard)
    try:
        if tar is not None and not _create(store, paths.tar, tar):
            finished = find_receipt(store, paths, receipt.column, receipt.shard)
            if finished is not None:
                return finished
            receipt, extra = adopt(store, paths.tar, receipt, extra)
        for name, data in extra.items():
            create_same(store, name, data)
    except DamagedShard:
        # Another attempt may have finished in the meantime: then its files count.
        finished = find_receipt(store, paths, receipt.column, receipt.shard)
        if finished is None:
            raise
        return finished
    if store.create_bytes(paths.receipt, receipt.encode()):
        return receipt
    return _read_receipt(store, paths.receipt, receipt.column, receipt.shard)


def _create(store: Store, path: str, tar: Path | bytes) -> bool:
    return store.create_bytes(path, tar) if isinstance(tar, bytes) else store.create(path, tar)


def create_same(store: Store, path: str, data: bytes, older: bytes | None = None) -> None:
    """Create a file, or find it with these very bytes, or as an earlier version made it. Raises DamagedShard for
    others."""
    if not store.create_bytes(path, data) and bytes(store.load(path)) not in (data, older):
        raise DamagedShard(f"{store.root}/{path} is there with other bytes than are made now; delete it")


def load_receipt(store: Store, column: str, shard: int) -> Receipt | None:
    """The receipt of a column's shard, or None when it is not done."""
    return find_receipt(store, column_paths(column, shard), column, shard)


def find_receipt(store: Store, paths: ShardPaths, column: str, shard: int) -> Receipt | None:
    """The receipt at these paths, or None when the shard is not done. DamagedShard for another shard's receipt."""
    try:
        return _read_receipt(store, paths.receipt, column, shard)
    except FileNotFoundError:
        return None


def _read_receipt(store: Store, path: str, column: str, shard: int) -> Receipt:
    receipt = Receipt.decode(store.load(path), path)
    # A copied receipt would make another shard's samples pass for this one's.
    if (receipt.column, receipt.shard) != (column, shard):
        raise DamagedShard(f"{path}: is the receipt of {receipt.column}/{receipt.shard}")
    return receipt
