"""Which cache a store's shards are read through, and how large it may be."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from t2i_shards.extractors.atomic import cache_folder
from t2i_shards.pipeline.errors import RequestError, describe_error
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.spread_store import SpreadStore
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stream.cache import ShardCache
from t2i_shards.pipeline.stream.order import cut_blocks

log = logging.getLogger(__name__)

CACHE_BYTES = 50 * 10**9
"""Unless asked for otherwise; and never more than half of what is free on the disk."""


def open_cache(store: Store, sizes: Iterable[int], folder: Path | None, limit: int | None) -> ShardCache | None:
    """The cache in `folder`, of at most `limit` bytes; None for a store in a folder of this machine.

    sizes: of each shard, in bytes. Without `folder` it is one of the user's own cache, and without `limit` it has
    at most CACHE_BYTES; a limit of 0 asks for none. Where nothing was asked for and there is no room for two
    blocks of shards, or the folder cannot be written, a warning says so and the shards come without a cache.
    Raises RequestError where what was asked for is not possible.
    """
    if isinstance(store.store if isinstance(store, SpreadStore) else store, FolderStore) or limit == 0:
        return None
    try:
        return _open(store, sorted(sizes), folder, limit)
    except (RequestError, OSError, RuntimeError) as error:  # the last where the user has no home
        if isinstance(error, RequestError) and (folder is not None or limit is not None):
            raise
        why = (
            str(error)
            if isinstance(error, RequestError)
            else f"the cache cannot be written: {describe_error(error)}"
        )
        log.warning("%s is read without a cache, and all of it again in each epoch: %s", store.root, why)
        return None


def _open(store: Store, sizes: list[int], folder: Path | None, limit: int | None) -> ShardCache:
    place = folder or cache_folder() / "shards"
    place.mkdir(parents=True, exist_ok=True)
    if limit is None:
        limit = min(CACHE_BYTES, shutil.disk_usage(place).free // 2)
    two_blocks = sum(sizes[-2 * max(map(len, cut_blocks(sizes))) :])
    if limit < two_blocks:
        raise RequestError(f"the cache must have room for two blocks of shards, {two_blocks} bytes, not {limit}")
    return ShardCache(store, place, limit)
