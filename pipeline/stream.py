"""The stream: verified shards of several columns, zipped, in an order that is a function of seed and epoch.

Shards are permuted, cut into blocks of ten, and the samples are permuted inside a block. Ten shards give a
good mix, and only ten need be open at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from pipeline.dataset import IMAGES, Dataset, load_verified
from pipeline.duplicates import read_duplicates
from pipeline.errors import DamagedShard, RequestError
from pipeline.receipt import Receipt, digest_json, digest_receipts, shard_name
from pipeline.sample import Sample

BLOCK_SHARDS = 10
OPENERS = 4
"""Shards of a block that are verified at once."""

Receipts = Mapping[str, Receipt]
"""The receipts of one shard, by column."""

LeftOut = Mapping[int, AbstractSet[str]]
"""shard -> the keys that are not handed out, though their samples are there."""


def permute(count: int, *seed: int) -> np.ndarray:
    """int64 (count,): a permutation that depends on the seed numbers alone.

    numpy promises that the raw bits of a bit generator never change from release to release, but not what
    `Generator.permutation` makes of them.
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(bits, kind="stable")


class Stream:
    """Samples that hold the members of all asked columns. Made by `open_stream`.

    digest: of the receipts, so of every byte that can be handed out. `len` is the samples of an epoch.
    """

    def __init__(
        self, dataset: Dataset, shards: Mapping[int, Receipts], seed: int, left_out: LeftOut | None = None
    ) -> None:
        self._dataset = dataset
        self._shards = shards
        self._seed = seed
        self._left_out = left_out or {}
        self._counts = {s: receipts[IMAGES].samples - len(self._without(s)) for s, receipts in shards.items()}
        columns = next(iter(shards.values())).keys()
        digests: dict[str, Any] = {
            column: digest_receipts({s: receipts[column] for s, receipts in shards.items()}) for column in columns
        }
        if self._left_out:
            digests["left out"] = {str(shard): sorted(keys) for shard, keys in self._left_out.items()}
        self.digest = digest_json(digests)

    def _without(self, shard: int) -> AbstractSet[str]:
        """The keys of a shard that are not handed out: some column lacks them, or they are to be left out."""
        return dropped_keys(self._shards[shard]) | self._left_out.get(shard, frozenset())

    def __len__(self) -> int:
        return sum(self._counts.values())

    def blocks(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """The order of an epoch, block by block, as (shard, index of a sample in it)."""
        shards = sorted(self._shards)
        order = [shards[i] for i in permute(len(shards), self._seed, epoch)]
        for number, first in enumerate(range(0, len(order), BLOCK_SHARDS)):
            block = [(s, i) for s in order[first : first + BLOCK_SHARDS] for i in range(self._counts[s])]
            yield [block[i] for i in permute(len(block), self._seed, epoch, number + 1)]

    def samples(self, epoch: int, start: int = 0) -> Iterator[Sample]:
        """The samples of an epoch from position `start` on.

        No sample of a shard is handed out before all its bytes, in every column, agree with their receipts.
        Raises DamagedShard.
        """
        position = 0
        for block in self.blocks(epoch):
            ahead = block[max(0, start - position) :]
            position += len(block)
            opened: Mapping[int, list[Sample]] = {}  # the last block goes before the next one comes
            opened = self._open_all({shard for shard, _ in ahead})
            for shard, index in ahead:
                yield opened[shard][index]

    def _open_all(self, shards: set[int]) -> Mapping[int, list[Sample]]:
        # Hashing lets go of the interpreter, and a store far away answers several requests at once.
        with ThreadPoolExecutor(OPENERS) as threads:
            return dict(zip(shards, threads.map(self._open, shards), strict=True))

    def _open(self, shard: int) -> list[Sample]:
        receipts = self._shards[shard]
        columns = {name: load_verified(self._dataset.store, receipt) for name, receipt in receipts.items()}
        return [sample for sample in zip_columns(columns, receipts) if sample.key not in self._without(shard)]


def open_stream(root: str, columns: Sequence[str], seed: int = 0, duplicates: bool = True) -> Stream:
    """The stream of these columns of the dataset at `root`; images are always among them.

    duplicates: False leaves out the pictures that ingest marked as duplicates of earlier ones.
    Raises RequestError for a column that is not there or not whole, DamagedShard for one that was made from
    other pictures.
    """
    dataset = Dataset.open(root)
    names = list(dict.fromkeys((IMAGES, *columns)))
    found = {name: _whole_column(dataset, name) for name in names}
    shards = {shard: {name: found[name][shard] for name in names} for shard in dataset.shards}
    for receipts in shards.values():
        for receipt in receipts.values():
            check_current(receipt, receipts[IMAGES])
    left_out = None if duplicates else read_duplicates(dataset, found[IMAGES])
    if left_out is None and not duplicates:
        raise RequestError(f"the duplicates of {root} are not marked; run ingest again to have them marked")
    stream = Stream(dataset, shards, seed, left_out)
    if len(stream) == 0:
        raise RequestError(f"{root} has no samples: every planned row was dropped (see status)")
    return stream


def check_current(receipt: Receipt, images: Receipt) -> None:
    """Raises DamagedShard when a column's shard was made from another images shard than stands there now."""
    if receipt.column != IMAGES and receipt.input != images.sha256:
        raise DamagedShard(
            f"{receipt.column}/{shard_name(receipt.shard)} was made from an images shard with sha256 "
            f"{str(receipt.input)[:12]}…, but images/{shard_name(receipt.shard)} has {images.sha256[:12]}…"
        )


def _whole_column(dataset: Dataset, name: str) -> Mapping[int, Receipt]:
    recipe = dataset.recipe_digest(name)
    receipts = dataset.receipts(name)
    missing = [shard for shard in dataset.shards if shard not in receipts]
    if missing:
        raise RequestError(
            f"{name} lacks {len(missing)} of {len(dataset.shards)} shards, the first {shard_name(missing[0])}; "
            f"run {'ingest' if name == IMAGES else 'extract'} again to go on"
        )
    for receipt in receipts.values():
        if receipt.recipe != recipe:
            raise DamagedShard(
                f"{name}/{shard_name(receipt.shard)} was made with another recipe than its column's"
            )
    return receipts


def dropped_keys(receipts: Receipts) -> AbstractSet[str]:
    """The keys that one of the columns lacks, by its receipt."""
    return set().union(*(receipt.dropped for receipt in receipts.values()))


def zip_columns(columns: Mapping[str, Sequence[Sample]], receipts: Receipts) -> list[Sample]:
    """One sample per key with the members of all columns, in the order of images.

    A key that a receipt names as dropped is left out. A foreign, missing or reordered key raises DamagedShard
    that names shard and key; two columns with the same member raise RequestError.
    """
    left_out = dropped_keys(receipts)
    keys = [sample.key for sample in columns[IMAGES]]
    zipped: dict[str, dict[str, bytes | memoryview]] = {key: {} for key in keys if key not in left_out}
    for name, samples in columns.items():
        expected = [key for key in keys if key not in receipts[name].dropped]
        found = [sample.key for sample in samples]
        if found != expected:
            raise DamagedShard(f"{name}/{shard_name(receipts[name].shard)}: {_first_difference(found, expected)}")
        for sample in samples:
            if sample.key in left_out:
                continue
            members = zipped[sample.key]
            for twice in members.keys() & sample.members.keys():
                raise RequestError(
                    f"two of the columns {', '.join(columns)} hold {twice}; read one of them at a time"
                )
            members.update(sample.members)
    return [Sample(key, members) for key, members in zipped.items()]


def _first_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    for key in found:
        if key not in expected:
            return f"the key {key} is foreign: images has none such"
    for key in expected:
        if key not in found:
            return f"the key {key} is missing"
    if len(found) > len(expected):
        return f"the key {next(key for key in found if found.count(key) > 1)} stands there twice"
    first = next(f for f, e in zip(found, expected, strict=True) if f != e)
    return f"the key {first} is out of the order of images"
