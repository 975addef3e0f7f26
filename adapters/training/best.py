"""The best of the checkpoints that were validated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from t2i_shards.pipeline.runlog import LogLine


def find_margins(lines: Iterable[LogLine]) -> dict[int, float]:
    """step -> how far the validation loss is under that with another sample's condition, where both are known."""
    return {
        line.step: line.mismatched - line.validation
        for line in lines
        if line.validation is not None and line.mismatched is not None
    }


def choose_best(margins: Mapping[int, float], steps: Iterable[int]) -> int | None:
    """The step, of these, whose adapter takes most from the condition, the earliest of equals; None if none has a
    margin.
    """
    return max(sorted(step for step in steps if step in margins), key=lambda step: margins[step], default=None)
