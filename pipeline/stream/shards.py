"""Shards: the samples that may be handed out, read from verified shards of several columns."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from pipeline.dataset import IMAGES, load_verified
from pipeline.receipt import Receipt, digest_json, digest_receipts
from pipeline.sample import Sample
from pipeline.store import Store
from pipeline.stream.cache import ShardCache
from pipeline.stream.columns import Receipts, dropped_keys, zip_columns

LeftOut = Mapping[int, AbstractSet[str]]
"""shard -> the keys that are not handed out, though their samples are there."""


class Shards:
    """root: of the dataset. data: digest of the pictures' receipts. cache: where the shards come by.

    digest: of all receipts, so of every byte that can be handed out.
    """

    def __init__(
        self,
        store: Store,
        receipts: Mapping[int, Receipts],
        left_out: LeftOut | None = None,
        cache: ShardCache | None = None,
    ) -> None:
        self._store, self._receipts = store, receipts
        self._left_out = left_out or {}
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

    def open(self, shard: int) -> list[Sample]:
        """The samples of a shard, in the order of images, after all its bytes agreed with their receipts.

        The members are views: of a shard in a folder or in the cache, of the mapped file, which processes share.
        Raises DamagedShard.
        """
        receipts = self._receipts[shard]
        columns = {name: self._load(receipt) for name, receipt in receipts.items()}
        without = self.without(shard)
        return [sample for sample in zip_columns(columns, receipts) if sample.key not in without]

    def _load(self, receipt: Receipt) -> list[Sample]:
        return self._cache.load(receipt) if self._cache else load_verified(self._store, receipt)
