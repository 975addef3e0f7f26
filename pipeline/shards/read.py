"""Shards as they are read: bytes first, then members."""

from __future__ import annotations

import hashlib

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import tar_path
from t2i_shards.pipeline.shards.receipt import Receipt, check_keys, check_sha256, check_size
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.tar import TarError, read_samples

MAPPED = 256 << 20
"""Bytes above which a shard is not read into memory as a whole: a worker may have no more than 2 GB."""


def load_verified(store: Store, receipt: Receipt) -> list[Sample]:
    """The samples under `receipt`, after size, sha256, number and keys were compared with it.

    A shard of at most MAPPED bytes is read into memory, so that it cannot change after it was verified; a larger
    one in a folder is mapped.
    """
    if receipt.bytes > MAPPED:
        return read_verified(load_tar(store, receipt), receipt)
    path = tar_path(receipt.column, receipt.shard)
    try:
        file = store.open(path)
    except FileNotFoundError:
        raise gone(path) from None
    with file:
        return read_verified(memoryview(file.read()), receipt)


def load_tar(store: Store, receipt: Receipt) -> memoryview:
    """The bytes of a shard. Raises DamagedShard when they are gone."""
    path = tar_path(receipt.column, receipt.shard)
    try:
        return store.load(path)
    except FileNotFoundError:
        raise gone(path) from None


def gone(path: str) -> DamagedShard:
    """What to raise for a shard that has a receipt, but is not there."""
    return DamagedShard(f"{path}: has a receipt, but the file is gone")


def check_bytes(data: memoryview, receipt: Receipt) -> None:
    """Raises DamagedShard unless these are the bytes of the receipt."""
    path = tar_path(receipt.column, receipt.shard)
    check_size(path, len(data), receipt.bytes)
    check_sha256(path, hashlib.sha256(data).hexdigest(), receipt.sha256)


def read_verified(data: memoryview, receipt: Receipt) -> list[Sample]:
    """The samples in the bytes of a shard, after size, sha256, number and keys were compared with its receipt."""
    check_bytes(data, receipt)
    return read_keyed(data, receipt)


def read_keyed(data: memoryview, receipt: Receipt) -> list[Sample]:
    """The samples of a shard, after its size, number of samples and keys were compared with the receipt.

    Their sha256 is not. Raises DamagedShard.
    """
    path = tar_path(receipt.column, receipt.shard)
    check_size(path, len(data), receipt.bytes)
    try:
        samples = list(read_samples(data))
    except TarError as error:
        raise DamagedShard(f"{path}: {error}") from None
    check_keys(path, [sample.key for sample in samples], receipt.samples, receipt.keys)
    return samples
