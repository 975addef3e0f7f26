"""How many shards a node holds: more where they are short, two otherwise, and none that would wait long."""

from __future__ import annotations

import math

import pytest

from t2i_shards.pipeline.engine.lease_size import AHEAD, MOST, count_surplus, next_size
from t2i_shards.pipeline.engine.pool import IN_FLIGHT


@pytest.mark.parametrize(
    ("pace", "size"),
    [
        (0.0, MOST),
        (AHEAD / MOST, MOST),
        (0.05, 4),
        (0.066, 3),
        (0.07, IN_FLIGHT),
        (120.0, IN_FLIGHT),
        (math.inf, 2),
    ],
)
def test_short_shards_are_held_in_larger_numbers_for_a_fifth_of_a_second_of_work(pace: float, size: int) -> None:
    sizes = [IN_FLIGHT]
    for _ in range(10):
        sizes.append(next_size(sizes[-1], pace))
        assert sizes[-1] <= 2 * sizes[-2], "one report is not believed at once"
        assert sizes[-1] * pace <= AHEAD or sizes[-1] == IN_FLIGHT
    assert sizes[-1] == size


@pytest.mark.parametrize("pace", [0.1, 120.0, math.inf])
def test_one_report_of_long_shards_is_enough_for_two(pace: float) -> None:
    assert next_size(MOST, pace) == IN_FLIGHT


def test_a_node_keeps_what_it_will_soon_do_and_the_next_of_each_worker() -> None:
    assert count_surplus(waiting=30, workers=2, taken=0) == 28
    assert count_surplus(waiting=30, workers=2, taken=10) == 20
    assert count_surplus(waiting=30, workers=2, taken=30) == 0
    assert count_surplus(waiting=2, workers=2, taken=0) == 0, "as with shards of ordinary length"
