"""What all stages share: failures in a row end a run, and one error is one line."""

from __future__ import annotations

import pytest

from t2i_shards.pipeline.errors import BrokenStage, IncompleteError, describe_error
from t2i_shards.pipeline.stages.stage import FailureLimit, refuse_total_failure


def test_the_fuse_counts_in_a_row() -> None:
    failure_limit = FailureLimit(3)
    for _ in range(4):
        failure_limit.fail("a")
        failure_limit.fail("b")
        failure_limit.succeed()
    failure_limit.fail("a")
    failure_limit.fail("b")
    with pytest.raises(BrokenStage, match=r"^3 samples failed in a row, so the stage is broken; the last: c$"):
        failure_limit.fail("c")


def test_an_error_is_one_line() -> None:
    assert describe_error(ValueError("two\n  lines")) == "ValueError: two lines"
    assert describe_error(KeyError()) == "KeyError"


def test_total_failure() -> None:
    refuse_total_failure(0, [])
    refuse_total_failure(1, ["a"])
    with pytest.raises(IncompleteError, match="every sample of the shard failed; the first: a"):
        refuse_total_failure(0, ["a", "b"])
