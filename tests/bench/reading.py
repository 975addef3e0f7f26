"""Verified reading against the same reader without its checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.commit import tar_path
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.tar import read_samples
from t2i_shards.pipeline.stream import open_stream, shards
from tests.bench.measure import Row, in_turns, timed
from tests.bench.toy import make_dataset


def bench(folder: Path) -> list[Row]:
    make_dataset(folder / "dataset", 10, 100, 512)
    stream = open_stream(str(folder / "dataset"), ())

    def read(use: Callable[[Sample], object]) -> int:
        return sum(1 for sample in stream.samples(0) if use(sample) is not None)

    def verified(use: Callable[[Sample], object]) -> float:
        return timed(lambda: read(use))

    def unverified(use: Callable[[Sample], object]) -> float:
        with mock.patch.object(shards, "load_verified", _load):
            return timed(lambda: read(use))

    def decode(sample: Sample) -> object:
        return decode_rgb(sample.members["jpg"])

    def touch(sample: Sample) -> object:
        return bytes(sample.members["jpg"])

    return [
        in_turns(
            "verified against unverified reading, JPEG decoded",
            "samples/s",
            ">= 0.95",
            lambda: verified(decode),
            lambda: unverified(decode),
        ),
        in_turns(
            "the same, bytes only",
            "samples/s",
            "",
            lambda: verified(touch),
            lambda: unverified(touch),
        ),
    ]


def _load(store: Store, receipt: Receipt) -> list[Sample]:
    return list(read_samples(store.load(tar_path(receipt.column, receipt.shard))))
