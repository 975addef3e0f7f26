"""Shards: the samples that may be handed out, read from verified shards of several columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

from t2i_shards.pipeline.dataset.aligned import Receipts, open_aligned
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.tombstones import LeftOut
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import load_receipt, tar_path
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.stream.cache import ShardCache, open_vouched
from t2i_shards.pipeline.stream.index import Vouched
from t2i_shards.pipeline.stream.verified import LocatedSample, OpenedShard, locate_samples, open_samples

OPENERS = 4
"""Shards that are verified at once. Hashing lets go of the interpreter, and a store far away answers several
requests at once."""


class ShardSource(Protocol):
    """What a Stream asks of its shards, which are numbered; see `Shards`."""

    root: str
    data: str
    digest: str
    removed: LeftOut

    def counts(self) -> dict[int, int]: ...

    def open(self, shard: int) -> OpenedShard: ...


class ShardPrefetcher:
    """A context manager. open: gives the samples of a shard."""

    def __init__(self, open_shard: Callable[[int], OpenedShard]) -> None:
        self._open = open_shard
        self._threads = ThreadPoolExecutor(OPENERS)
        self._shards: dict[int, Future[OpenedShard]] = {}

    def __enter__(self) -> ShardPrefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._shards.clear()
        self._threads.shutdown(cancel_futures=True)

    def begin(self, shards: Iterable[int]) -> None:
        """Open these too, on other threads."""
        for shard in shards:
            if shard not in self._shards:
                self._shards[shard] = self._threads.submit(self._open, shard)

    def turn_to(self, shards: set[int], others: AbstractSet[int] = frozenset()) -> None:
        """Let go of all that are neither these nor `others`, then begin these."""
        for shard in self._shards.keys() - shards - others:
            self._shards.pop(shard).cancel()
        self.begin(sorted(shards))

    def get(self, shard: int) -> OpenedShard:
        """The samples of a shard that was begun. Raises what opening it raised."""
        return self._shards[shard].result()


class Shards:
    """root: of the dataset. data: digest of the pictures' receipts. cache: through which shards are read.

    receipts: by column, images among them, all of the same shards. digest: of all receipts and of `left_out`, so
    of every byte that can be handed out. removed: samples that have a place in the order, and so count in `counts`
    and in the digest, but are no longer handed out.
    """

    def __init__(
        self,
        store: Store,
        receipts: Mapping[str, ReceiptTable],
        left_out: LeftOut | None = None,
        cache: ShardCache | None = None,
        removed: LeftOut | None = None,
    ) -> None:
        self._store, self._receipts = store, receipts
        self._left_out = left_out or {}
        self._without = _find_dropped(receipts.values())
        for shard, keys in self._left_out.items():
            self._without[shard] = self.without(shard) | keys
        self.removed: LeftOut = {shard: keys - self.without(shard) for shard, keys in (removed or {}).items()}
        self.root = store.root
        self.data = receipts[IMAGES].digest
        self._cache = cache
        self.digest = digest_json(self._describe())

    def _describe(self) -> Mapping[str, Any]:
        digests: dict[str, Any] = {column: of.digest for column, of in self._receipts.items()}
        if self._left_out:
            digests["left out"] = {str(shard): sorted(keys) for shard, keys in self._left_out.items()}
        return digests

    def without(self, shard: int) -> AbstractSet[str]:
        """The keys of a shard that are not handed out: some column lacks them, or they are to be left out."""
        return self._without.get(shard, frozenset())

    def counts(self) -> dict[int, int]:
        """shard -> how many samples it hands out."""
        images = self._receipts[IMAGES]
        counts = dict(zip(images, images.numbers("samples").tolist(), strict=True))
        for shard, keys in self._without.items():
            counts[shard] -= len(keys)
        return counts

    def open(self, shard: int) -> OpenedShard:
        """The samples of a shard, in the order of images, after all its bytes agreed with their receipts.

        Raises DamagedShard.
        """
        receipts = {column: of[shard] for column, of in self._receipts.items()}
        try:
            return self._open(shard, receipts)
        except DamagedShard:
            newer = self._reload(receipts)
            if newer == receipts:
                raise
        return self._open(shard, newer)

    def _open(self, shard: int, receipts: Receipts) -> OpenedShard:
        zipped = open_aligned(self._store, shard, receipts, self._read, receipts).zip()
        without = self.without(shard)
        handed = [(key, members) for key, members in zipped.items() if key not in without]
        erased = frozenset(key for receipt in receipts.values() for key in receipt.erased)
        return open_samples(handed, self.removed.get(shard, frozenset()) | erased)

    def _reload(self, receipts: Receipts) -> Receipts:
        """The receipts with those in their places that were written since, when samples were erased."""
        newer = dict(receipts)
        for column, receipt in receipts.items():
            with suppress(DamagedShard):
                found = load_receipt(self._store, column, receipt.shard)
                if found is not None and found.identity == receipt.identity:
                    newer[column] = found
        return newer

    def _read(self, store: Store, receipt: Receipt) -> list[LocatedSample]:
        path = tar_path(receipt.column, receipt.shard)
        vouched = Vouched(path, receipt.bytes, receipt.sha256, receipt.samples, receipt.keys)
        return locate_samples(open_vouched(store, vouched, self._cache))


def _find_dropped(receipts: Iterable[ReceiptTable]) -> dict[int, AbstractSet[str]]:
    """shard -> the keys that one of the columns lacks; shards without any are not named."""
    found: dict[int, AbstractSet[str]] = {}
    for of in receipts:
        for shard, dropped in of.counts("dropped"):
            found[shard] = found.get(shard, frozenset()) | dropped.keys()
    return found
