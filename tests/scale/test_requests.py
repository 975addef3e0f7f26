"""How many requests it takes an object store to tell what is done, and what is in it. Counted, never timed."""

from __future__ import annotations

import pickle
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.done import name_ranges
from t2i_shards.pipeline.dataset.left import find_left
from t2i_shards.pipeline.dataset.roll_up import RollUp
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.stream import open_stream
from tests.scale.synthetic import count, counted_s3, fill, make_receipt, put_in_moto, roll_up

SHARDS, LEFT = 2_200, 37
ROOT = "s3://requests/root"


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[str]]:
    """The requests of a server with a dataset: roll-ups of two columns, 2,163 of 2,200 shards of a third."""
    with counted_s3() as counts:
        put = put_in_moto("requests")
        fill(put, SHARDS, (IMAGES, "sketch"), receipts="no")
        put("depth/column.json", b"{}")
        for shard in range(SHARDS - LEFT):
            put(f"depth/{shard_name(shard)}.json", b"")
            put(f"depth/{shard_name(shard)}.tar", b"")
        for first in range(0, 2000, 1000):  # of these only the names are read here
            put(RollUp(first, first + 999, "0" * 64, "depth").path, b"")
        roll_up(ROOT, (IMAGES, "sketch"))
        yield counts


def test_what_is_left_is_told_by_the_roll_ups_and_one_listing_of_the_rest(counts: Counter[str]) -> None:
    """5 listings without roll-ups; 20 for 10,000 shards."""
    dataset = Dataset.open(ROOT)
    left: list[int] = []
    asked = count(counts, lambda: left.extend(find_left(dataset, ["depth"]).shards))
    assert asked == {"LIST": 2}
    assert left == list(range(SHARDS - LEFT, SHARDS))


def test_one_process_of_a_machine_reads_the_roll_ups(
    counts: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    streams = []
    asked = [count(counts, lambda: streams.append(open_stream(ROOT, ["sketch"], cache_bytes=0))) for _ in "ab"]
    # Each of two columns has three roll-ups; the other requests do not depend on the number of shards.
    assert asked[0]["GET"] - asked[1]["GET"] == 6
    assert sum(asked[1].values()) <= 16
    first, second = streams
    assert first.digest == second.digest
    assert [first.block(p) for p in (0, 10**6)] == [second.block(p) for p in (0, 10**6)]
    # The receipts of a shard, as they were before they were in a table.
    assert first._shards._receipts["sketch"][2000] == make_receipt(SHARDS, "sketch", 2000)
    # What a loader is given is paths.
    columns = pickle.dumps(first._shards._receipts)
    assert len(columns) < 2000
    assert pickle.loads(columns)["sketch"][2000] == first._shards._receipts["sketch"][2000]  # noqa: S301


def test_the_parts_of_a_listing_have_each_shard_once() -> None:
    for shards in (10_000, 12_345, 99_001, 100_000, 999_999, 1_234_567):
        prefixes = name_ranges(shards)
        for shard in (0, 999, 9_999, 10_000, 12_344, 98_765, 100_000, 654_321, 999_999, 1_000_000, 7_654_321):
            assert sum(shard_name(shard).startswith(prefix) for prefix in prefixes) == 1, (shards, shard)
    assert name_ranges(9_000) == []
