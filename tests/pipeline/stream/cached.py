"""A store that logs what is loaded, and a cache before it that holds three of its shards."""

from __future__ import annotations

from pathlib import Path

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.shards.commit import commit_samples, tar_path
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream.cache import ShardCache
from t2i_shards.pipeline.stream.index import Vouched
from t2i_shards.pipeline.stream.verified import VerifiedShard
from tests.pipeline.stream.toys import Origin

SHARDS = 6


class Far:
    """An origin with shards of one size, and a cache that holds three of them."""

    def __init__(self, folder: Path) -> None:
        self.origin = Origin(folder / "origin", folder / "log")
        self.receipts = [
            commit_samples(self.origin, samples_of(shard), column="images", shard=shard, planned=2, recipe="")
            for shard in range(SHARDS)
        ]
        self.size = self.receipts[0].bytes
        assert {receipt.bytes for receipt in self.receipts} == {self.size}
        self.folder = folder / "cache"
        self.cache = ShardCache(self.origin, self.folder, 3 * self.size)
        self.vouched = [vouched_of(receipt) for receipt in self.receipts]

    def cached(self) -> set[int]:
        """The shards whose files are there, after the sum of all files was held against the bound."""
        assert sum(path.stat().st_size for path in self.folder.glob("*.*")) <= 3 * self.size
        return {shard for shard in range(SHARDS) if self.file(shard).exists()}

    def file(self, shard: int) -> Path:
        return self.folder / f"{self.receipts[shard].sha256}.tar"

    def loads(self) -> list[int]:
        return [int(path[7:13]) for path in self.origin.loads()]


def vouched_of(receipt: Receipt) -> Vouched:
    return Vouched(tar_path(IMAGES, receipt.shard), receipt.bytes, receipt.sha256, receipt.samples)


def read(shard: VerifiedShard) -> list[Sample]:
    """All samples of a shard."""
    return [Sample(e.key, {m.name: shard.read(m) for m in e.parts}) for e in shard.entries]


def samples_of(shard: int) -> list[Sample]:
    return [Sample(f"k{shard}{i}", {"jpg": bytes([shard, i]) * 5000}) for i in range(2)]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
