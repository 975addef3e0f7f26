"""The sample: exactly so many, evenly from everywhere, the same however the files are cut into batches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import t2i_shards.pipeline.sources.laion.metadata as metadata_module
import t2i_shards.pipeline.sources.laion.sampling as sampling_module
from t2i_shards.pipeline.sources.laion.filters import Filters
from t2i_shards.pipeline.sources.laion.sampling import BITS, BucketCounts, buckets_of
from t2i_shards.pipeline.sources.laion.source import NOT_SAMPLED, LaionSource
from tests.pipeline.laion_tables import planned, write_many

SIZES = [3000, 10, 2000, 4990]
HALF = Filters(min_aesthetic=5.0)


def keys(source: LaionSource) -> list[str]:
    rows, left_out = planned(source)
    assert len(rows) + left_out.total() == sum(SIZES)
    return [row.key for row in rows]


@pytest.fixture
def metadata(tmp_path: Path) -> str:
    return write_many(tmp_path, SIZES)


def test_exactly_so_many_in_the_order_of_the_metadata(metadata: str) -> None:
    passing = keys(LaionSource(metadata, HALF))
    for samples in (1, 2, 500, len(passing) - 1):
        rows, left_out = planned(LaionSource(metadata, HALF, samples))
        found = [row.key for row in rows]
        assert len(found) == samples
        assert found == sorted(set(found) & set(passing))
        assert left_out == {
            "aesthetic below minimum": sum(SIZES) - len(passing),
            NOT_SAMPLED: len(passing) - samples,
        }


@pytest.mark.parametrize("more", [0, 1, 10**12])
def test_all_when_there_are_no_more(more: int, metadata: str) -> None:
    passing = planned(LaionSource(metadata, HALF))
    assert planned(LaionSource(metadata, HALF, len(passing[0]) + more)) == passing


def test_a_key_is_the_position_of_its_row(metadata: str) -> None:
    rows, _ = planned(LaionSource(metadata, HALF, 500))
    assert [row.location for row in rows] == [f"http://example.com/{int(row.key)}" for row in rows]


@pytest.mark.parametrize("bits", [BITS, 4, 0])
def test_batches_and_row_groups_change_nothing(
    bits: int, metadata: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where many rows share a bucket, as they do in far larger sets."""
    monkeypatch.setattr(sampling_module, "BITS", bits)
    whole = planned(LaionSource(metadata, HALF, 500))
    assert len(whole[0]) == 500
    (tmp_path / "other").mkdir()
    other = write_many(tmp_path / "other", SIZES, group=77)
    assert planned(LaionSource(other, HALF, 500)) == whole
    monkeypatch.setattr(metadata_module.MetadataFile.read, "__defaults__", (33,))
    assert planned(LaionSource(metadata, HALF, 500)) == whole


@pytest.mark.parametrize("bits", [BITS, 6])
def test_a_smaller_sample_lies_within_a_larger(bits: int, metadata: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling_module, "BITS", bits)
    samples = [set(keys(LaionSource(metadata, HALF, count))) for count in (100, 101, 200, 3000)]
    assert all(small < large for small, large in pairwise(samples))


def test_a_stricter_filter_keeps_who_passes_both(metadata: str) -> None:
    """A row's priority is of its position alone, not of who else passes."""
    loose, strict = (keys(LaionSource(metadata, Filters(min_aesthetic=score), 500)) for score in (5.0, 6.0))
    passing = set(keys(LaionSource(metadata, Filters(min_aesthetic=6.0))))
    assert set(loose) & passing <= set(strict)


def test_another_seed_takes_other_rows(metadata: str) -> None:
    first, same, other, negative = (keys(LaionSource(metadata, HALF, 500, seed)) for seed in (0, 0, 1, -1))
    assert first == same
    for a, b in ((first, other), (first, negative), (other, negative)):
        # 500 of about 5,000 twice: 50 in common are expected, and more than 90 not once in a million.
        assert len(set(a) & set(b)) < 90


def test_every_part_of_the_metadata_has_its_share(metadata: str) -> None:
    """Chi-squared over ten equal stretches, for 40 seeds at once: 360 degrees of freedom."""
    squares = 0.0
    for seed in range(40):
        counts = np.bincount([int(key) // 1000 for key in keys(LaionSource(metadata, samples=1000, seed=seed))])
        squares += float(((counts - 100.0) ** 2 / 100).sum()) / 0.9  # drawn without putting back: 1 - 1000 / 10000
    assert 260 < squares < 460  # 99.99 %


def test_neighbours_are_taken_independently() -> None:
    taken = buckets_of(3, 10**10, 200_000) < (1 << BITS) // 4
    pairs = taken[1:] & taken[:-1]
    assert abs(taken.mean() - 0.25) < 0.005
    assert abs(pairs.mean() - 0.0625) < 0.003


def test_a_bucket_is_of_seed_and_position_alone() -> None:
    whole = buckets_of(7, 0, 1000)
    parts = np.concatenate([buckets_of(7, 0, 1), buckets_of(7, 1, 500), buckets_of(7, 501, 499)])
    assert (whole == parts).all()
    assert (whole >= 0).all()
    assert (whole < 1 << BITS).all()
    # splitmix64's own stream: the third output from state 0 is 0x06c45d188009454f.
    assert sampling_module._mix(np.array([2 * 0x9E3779B97F4A7C15 % 2**64], np.uint64))[0] == 0x06C45D188009454F


def test_a_cut_within_a_bucket() -> None:
    tally = BucketCounts()
    buckets = np.array([5, 3, 5, 9, 5, 3])
    tally.add(buckets)
    for samples in range(1, 8):
        cut = tally.cut(samples)
        taken = np.concatenate([cut.take(buckets[:3]), cut.take(buckets[3:])])
        assert taken.sum() == min(samples, 6)
        assert set(buckets[taken]) == set(sorted(buckets)[:samples])
