"""A stream over a line that fails: the same stream bit for bit, or one line that says what failed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from t2i_shards.pipeline.errors import Unreachable
from t2i_shards.pipeline.shards.commit import commit_samples
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import Pictures, make_images
from tests.pipeline.stream.hub import API, run_reader, serve_folder
from tests.pipeline.stream.toys import send
from tests.pipeline.weak_line import weak_line

SHARDS, SIZE = 3, 2


def content(sample: Sample, epoch: int, *_: object) -> tuple[str, int, dict[str, bytes]]:
    return sample.key, epoch, {name: bytes(member) for name, member in sample.members.items()}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited; S3's client gives up at once, not after some seconds."""
    waited: list[float] = []
    monkeypatch.setattr(
        "t2i_shards.pipeline.shards.remote_read.time",
        SimpleNamespace(monotonic=time.monotonic, sleep=waited.append),
    )
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return waited


def each_fails(way: str, times: int) -> Callable[[str, str, int], str | None]:
    """Every request fails so many times, those for receipts and listings as well as those for shards."""
    return lambda method, path, before: way if before < times else None


@pytest.mark.parametrize("way", ["503", "500", "429", pytest.param("reset", marks=pytest.mark.soak), "cut"])
def test_the_stream_over_a_weak_line_is_the_same(
    way: str, bucket: str, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(tmp_path / "root", Pictures(SHARDS * SIZE), SIZE)
    far = send(tmp_path / "root", f"{bucket}/root")
    here = list(open_stream(str(tmp_path / "root"), []).take(range(3 * SHARDS * SIZE), content))
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    with weak_line(os.environ["AWS_ENDPOINT_URL"]) as (address, line):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        line.fails = each_fails(way, 2)
        there = list(open_stream(far.root, [], cache=tmp_path / "cache").take(range(3 * SHARDS * SIZE), content))
    assert there == here
    failed = {path for _, path in line.asked}
    assert any(path.endswith(".tar") for path in failed)
    assert any(path.endswith("000002.json") for path in failed)
    assert line.failed[way] >= 2 * len(failed)
    assert waits.count(1.0) >= len(failed) - 1


def test_an_unreachable_shard_is_one_line(
    bucket: str, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither damaged, so that it would be skipped, nor gone."""
    make_images(tmp_path / "root", Pictures(SHARDS * SIZE), SIZE)
    far = send(tmp_path / "root", f"{bucket}/root")
    with weak_line(os.environ["AWS_ENDPOINT_URL"]) as (address, line):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        line.fails = lambda method, path, before: "503" if path.endswith("000001.tar") else None
        stream = open_stream(far.root, [], skip_damaged=2)
        said = (
            rf"^cannot read {far.root}/images/000001\.tar: tried 5 times in \d+ s; the last error: .*Unavailable$"
        )
        with pytest.raises(Unreachable, match=said):
            list(stream.take(range(SHARDS * SIZE), content))
    assert not stream._skipped
    assert waits == [1, 3, 9, 15]


def test_a_put_whose_answer_is_lost_is_recognised_as_our_own(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client tries again and is refused, as its own object is there; the receipt is the same."""

    def make(store: Store) -> Receipt:
        samples = [Sample("a", {"jpg": b"1" * 2000}), Sample("b", {"jpg": b"2" * 2000})]
        rows = {"images/000000.rows.parquet": b"rows"}
        return commit_samples(store, samples, column="images", shard=0, planned=2, recipe="r", extra=rows)

    expected = make(open_store(tmp_path / "root"))
    with weak_line(os.environ["AWS_ENDPOINT_URL"]) as (address, line):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        line.fails = lambda method, path, before: "lost" if method == "PUT" and before == 0 else None
        store = open_store(f"{bucket}/root")
        receipt = make(store)
        assert line.failed["lost"] == 4, "tar, rows and receipt, and the object by which a store is tried"
        assert make(store) == receipt
        assert store.names("images") == ["000000.json", "000000.rows.parquet", "000000.tar"]
    assert (receipt.sha256, receipt.keys, receipt.samples) == (expected.sha256, expected.keys, expected.samples)


HUB_READER = """
from types import SimpleNamespace
from t2i_shards.pipeline.shards import remote_read
from t2i_shards.pipeline.stream import open_stream
remote_read.time = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: print("waited", seconds))
print(*(sample.key for sample in open_stream("hf://datasets/me/set/root", []).samples(0)))
"""


def test_the_hub_over_a_weak_line(tmp_path: Path) -> None:
    """Its client asks again for files and listings, but not for what it asks of the dataset before these."""
    make_images(tmp_path / "hub" / "root", Pictures(4), 2)
    with serve_folder(tmp_path / "hub") as (hub, _), weak_line(hub) as (address, line):
        line.fails = lambda method, path, before: ("503", "reset", None)[before] if path == API else None
        printed = run_reader(HUB_READER, address)
    keys = [sample.key for sample in open_stream(str(tmp_path / "hub" / "root"), []).samples(0)]
    assert printed.splitlines() == ["waited 1.0", "waited 3.0", " ".join(keys)]
