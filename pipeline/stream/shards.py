"""Shards: the samples that may be handed out, read from verified shards of several columns."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from pipeline.commit import tar_path
from pipeline.dataset import IMAGES
from pipeline.errors import DamagedShard
from pipeline.receipt import Receipt, digest_json, digest_receipts
from pipeline.sample import digest_keys
from pipeline.store import Store
from pipeline.stream.cache import ShardCache
from pipeline.stream.columns import Receipts, dropped_keys, zip_members
from pipeline.stream.index import Entry, Vouched
from pipeline.stream.opened import Located, Opened, open_samples
from pipeline.stream.verified import VerifiedShard, open_verified
from pipeline.tombstones import LeftOut


class Shards:
    """root: of the dataset. data: digest of the pictures' receipts. cache: where the shards come by.

    digest: of all receipts and of `left_out`, so of every byte that can be handed out. removed: samples that have
    a place in the order, and so count in `counts` and in the digest, but are no longer handed out.
    """

    def __init__(
        self,
        store: Store,
        receipts: Mapping[int, Receipts],
        left_out: LeftOut | None = None,
        cache: ShardCache | None = None,
        removed: LeftOut | None = None,
    ) -> None:
        self._store, self._receipts = store, receipts
        self._left_out = left_out or {}
        self.removed = {shard: keys - self.without(shard) for shard, keys in (removed or {}).items()}
        self.root = store.root
        self.data = digest_receipts({shard: of[IMAGES] for shard, of in receipts.items()})
        self._cache = cache
        self.digest = digest_json(self._describe())

    def _describe(self) -> Mapping[str, Any]:
        columns = next(iter(self._receipts.values())).keys()
        digests: dict[str, Any] = {
            column: digest_receipts({shard: of[column] for shard, of in self._receipts.items()})
            for column in columns
        }
        if self._left_out:
            digests["left out"] = {str(shard): sorted(keys) for shard, keys in self._left_out.items()}
        return digests

    def without(self, shard: int) -> AbstractSet[str]:
        """The keys of a shard that are not handed out: some column lacks them, or they are to be left out."""
        return dropped_keys(self._receipts[shard]) | self._left_out.get(shard, frozenset())

    def counts(self) -> dict[int, int]:
        """shard -> how many samples it hands out."""
        return {
            shard: receipts[IMAGES].samples - len(self.without(shard))
            for shard, receipts in self._receipts.items()
        }

    def open(self, shard: int) -> Opened:
        """The samples of a shard, in the order of images, after all its bytes agreed with their receipts.

        Raises DamagedShard.
        """
        receipts = self._receipts[shard]
        files = {name: self._open(receipt) for name, receipt in receipts.items()}
        located = {name: [_Located(e.key, file, e) for e in file.entries] for name, file in files.items()}
        without = self.without(shard)
        zipped = zip_members(located, receipts)
        handed = [(key, members) for key, members in zipped.items() if key not in without]
        return open_samples(handed, self.removed.get(shard, frozenset()))

    def _open(self, receipt: Receipt) -> VerifiedShard:
        path = tar_path(receipt.column, receipt.shard)
        vouched = Vouched(path, receipt.bytes, receipt.sha256)
        try:
            found = self._cache.open(vouched) if self._cache else open_verified(self._store.open(path), vouched)
        except FileNotFoundError:
            raise DamagedShard(f"{path}: has a receipt, but the file is gone") from None
        if len(found.entries) != receipt.samples or digest_keys(e.key for e in found.entries) != receipt.keys:
            raise DamagedShard(f"{path}: its keys are not those of its receipt")
        return found


@dataclass(frozen=True)
class _Located:
    """A sample of one column, and the file that it lies in."""

    key: str
    file: VerifiedShard
    entry: Entry

    @property
    def members(self) -> Located:
        return {name: (self.file, member) for name, member in self.entry.members.items()}
