"""Bars and histograms: every bin once, with its name."""

from __future__ import annotations

from collections import Counter

import pytest

from t2i_shards.extractors.keypose import MOST_PERSONS
from t2i_shards.extractors.segmentation import label_name
from t2i_shards.pipeline.report.plots import WIDTH, lay_out_bins, median


@pytest.mark.parametrize(
    "counts",
    [{0: 1}, {5: 3}, {0: 1, MOST_PERSONS: 2}, {MOST_PERSONS: 4}, {i: i + 1 for i in range(MOST_PERSONS + 1)}],
)
@pytest.mark.parametrize("edge", [None, str])
@pytest.mark.parametrize("bins", [None, MOST_PERSONS + 1])
def test_a_histogram_shows_every_bin_that_was_counted(
    counts: dict[int, int], edge: type[str] | None, bins: int | None
) -> None:
    histogram = lay_out_bins("", Counter({(n,): c for n, c in counts.items()}), bins, str, edge)
    assert {int(bar.label): bar.count for bar in histogram.bars if bar.count} == counts
    assert [int(bar.label) for bar in histogram.bars] == [
        *range(int(histogram.bars[0].label), int(histogram.bars[-1].label) + 1)
    ]
    assert len(histogram.bars) >= 8
    assert bins is None or int(histogram.bars[-1].label) < bins
    assert max(bar.share for bar in histogram.bars) == 1
    assert histogram.total == sum(counts.values())
    assert all(0 <= x <= WIDTH for x, _ in histogram.ticks)
    first = int(histogram.bars[0].label)
    shift = 0.5 if edge is None else 0.0
    assert all(
        x == pytest.approx((int(label) - first + shift) * histogram.step, abs=0.06) for x, label in histogram.ticks
    )


def test_the_median_is_the_lower_middle() -> None:
    assert median({3: 1}) == 3
    assert median({1: 1, 2: 1}) == 1
    assert median({1: 1, 2: 1, 9: 1}) == 2
    assert median({1: 1, 5: 100, 9: 1}) == 5


def test_labels_have_coco_s_names() -> None:
    assert [label_name(v) for v in (0, 181, 255, 200)] == ["person", "wood", "unlabelled", "value 200"]
