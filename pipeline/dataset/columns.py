"""Columns that are zipped strictly: one sample per key with the members of all, or a line that says why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, TypeVar

from pipeline.dataset.dataset import IMAGES, Dataset
from pipeline.errors import DamagedShard, RequestError
from pipeline.shards.receipt import Receipt, shard_name
from pipeline.shards.sample import Sample

T = TypeVar("T", covariant=True)
Receipts = Mapping[str, Receipt]
"""The receipts of one shard, by column."""


def check_current(receipt: Receipt, images: Receipt) -> None:
    """Raises DamagedShard when a column's shard was made from another images shard than stands there now."""
    if receipt.column != IMAGES and receipt.input != images.sha256:
        raise DamagedShard(
            f"{receipt.column}/{shard_name(receipt.shard)} was made from an images shard with sha256 "
            f"{str(receipt.input)[:12]}…, but images/{shard_name(receipt.shard)} has {images.sha256[:12]}…"
        )


def whole_column(dataset: Dataset, name: str, shards: range | None = None) -> Mapping[int, Receipt]:
    """The receipts of a column, by shard: all `shards` are there, those of the dataset when None.

    Raises RequestError, DamagedShard.
    """
    shards = dataset.shards if shards is None else shards
    recipe = dataset.recipe_digest(name)
    receipts = {shard: receipt for shard, receipt in dataset.receipts(name).items() if shard in shards}
    missing = [shard for shard in shards if shard not in receipts]
    if missing:
        raise RequestError(
            f"{name} lacks {len(missing)} of {len(shards)} shards, the first {shard_name(missing[0])}; "
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


class Keyed(Protocol[T]):
    """A key with its members, whatever those are: bytes, or where they lie."""

    @property
    def key(self) -> str: ...

    @property
    def members(self) -> Mapping[str, T]: ...


def zip_columns(columns: Mapping[str, Sequence[Sample]], receipts: Receipts) -> list[Sample]:
    """As `zip_members`, of samples."""
    return [Sample(key, members) for key, members in zip_members(columns, receipts).items()]


def zip_members(columns: Mapping[str, Sequence[Keyed[T]]], receipts: Receipts) -> dict[str, dict[str, T]]:
    """key -> the members of all columns, in the order of images.

    A key that a receipt names as dropped is left out. A foreign, missing or reordered key raises DamagedShard
    that names shard and key; two columns with the same member raise RequestError.
    """
    left_out = dropped_keys(receipts)
    keys = [sample.key for sample in columns[IMAGES]]
    zipped: dict[str, dict[str, T]] = {key: {} for key in keys if key not in left_out}
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
    return zipped


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
