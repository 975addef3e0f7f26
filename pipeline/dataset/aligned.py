"""A shard in several columns: each is verified by itself, then its keys are compared with those of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.errors import DamagedShard, RequestError, ShardNotReady
from t2i_shards.pipeline.shards.commit import load_receipt
from t2i_shards.pipeline.shards.receipt import Receipt, shard_name
from t2i_shards.pipeline.shards.store import Store

Receipts = Mapping[str, Receipt]
"""The receipts of one shard, by column."""


class Keyed(Protocol):
    """A key with its members, whatever those are: bytes, or where they are."""

    @property
    def key(self) -> str: ...

    @property
    def members(self) -> Mapping[str, Any]: ...


S = TypeVar("S", bound=Keyed)
Read = Callable[[Store, Receipt], Sequence[S]]
"""Gives the samples of one column's shard, verified as its caller needs it. Raises DamagedShard."""


@dataclass
class Aligned(Generic[S]):
    """A shard in its columns, images first.

    receipts, samples: by column, of the columns that are sound. missing: those that are not made yet. problems:
    column -> why it is damaged. When images are, the other columns were compared with nothing but their receipts.
    """

    shard: int
    receipts: dict[str, Receipt] = field(default_factory=dict)
    samples: dict[str, Sequence[S]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problems: dict[str, DamagedShard] = field(default_factory=dict)

    def check(self) -> None:
        """Raises DamagedShard or ShardNotReady unless all columns are sound."""
        for problem in self.problems.values():
            raise problem
        for column in self.missing:
            raise ShardNotReady(f"{column}/{shard_name(self.shard)} has no receipt")

    def zip(self) -> dict[str, dict[str, Any]]:
        """key -> the members of all columns, in the order of images; without the keys that some column dropped.

        Raises DamagedShard, ShardNotReady, and RequestError for two columns with the same member.
        """
        self.check()
        left_out = dropped_keys(self.receipts)
        zipped: dict[str, dict[str, Any]] = {s.key: {} for s in self.samples[IMAGES] if s.key not in left_out}
        for samples in self.samples.values():
            for sample in samples:
                if (members := zipped.get(sample.key)) is None:
                    continue
                for twice in members.keys() & sample.members.keys():
                    raise RequestError(
                        f"two of the columns {', '.join(self.samples)} hold {twice}; read one of them at a time"
                    )
                members.update(sample.members)
        return zipped


def open_aligned(
    store: Store, shard: int, columns: Iterable[str], read: Read[S], receipts: Receipts | None = None
) -> Aligned[S]:
    """Open a shard in images and these columns. What is wrong with one of them does not hide the others.

    receipts: those of the shard; read from the store when not given.
    """
    found = Aligned[S](shard)
    keys: list[str] = []
    for column in dict.fromkeys((IMAGES, *columns)):
        try:
            receipt = receipts[column] if receipts is not None else load_receipt(store, column, shard)
            if receipt is None:
                found.missing.append(column)
                continue
            if IMAGES in found.receipts:
                check_current(receipt, found.receipts[IMAGES])
            samples = read(store, receipt)
            if column == IMAGES:
                keys = [sample.key for sample in samples]
            elif IMAGES in found.samples:
                _check_keys([sample.key for sample in samples], keys, receipt)
        except DamagedShard as error:
            found.problems[column] = error
        else:
            found.receipts[column], found.samples[column] = receipt, samples
    return found


def dropped_keys(receipts: Receipts) -> AbstractSet[str]:
    """The keys that one of the columns lacks, by its receipt."""
    return set().union(*(receipt.dropped for receipt in receipts.values()))


def check_current(receipt: Receipt, images: Receipt) -> None:
    """Raises DamagedShard when a column's shard was made from another images shard than is there now."""
    if receipt.column != IMAGES and receipt.input != images.identity:
        raise DamagedShard(
            f"{receipt.column}/{shard_name(receipt.shard)} was made from an images shard with sha256 "
            f"{str(receipt.input)[:12]}…, but images/{shard_name(receipt.shard)} has {images.identity[:12]}…"
        )


def _check_keys(found: Sequence[str], images: Sequence[str], receipt: Receipt) -> None:
    """Raises DamagedShard unless a column has the keys of images, in their order, without those it dropped."""
    expected = [key for key in images if key not in receipt.dropped]
    if found != expected:
        raise DamagedShard(f"{receipt.column}/{shard_name(receipt.shard)}: {_first_difference(found, expected)}")


def _first_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    for key in found:
        if key not in expected:
            return f"the key {key} is foreign: images has none such"
    for key in expected:
        if key not in found:
            return f"the key {key} is missing"
    if len(found) > len(expected):
        return f"the key {next(key for key in found if found.count(key) > 1)} is there twice"
    first = next(f for f, e in zip(found, expected, strict=True) if f != e)
    return f"the key {first} is out of the order of images"
