"""Which rows of the miniature are made of which conditions, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from t2i_shards.jobs.miniature import MiniatureCommand
from t2i_shards.jobs.miniature.composition import choose_pairs
from t2i_shards.jobs.miniature.edit import choose_local
from t2i_shards.jobs.miniature.recipe import (
    NAMES,
    Name,
)
from t2i_shards.jobs.miniature.rows import ALL, FURTHER, choose_rows
from t2i_shards.pipeline.errors import RequestError


def test_rows_are_numbers_and_ranges() -> None:
    assert choose_rows(("1-3", "8")) == {1, 2, 3, 8}
    assert choose_rows(MiniatureCommand().rows) == ALL == set(range(1, 12))
    for wrong in (("0",), ("12",), ("3-1",), ("1-",), ("x",), ("-1",), ()):
        with pytest.raises(RequestError, match="--rows must"):
            choose_rows(wrong)


def test_rows_that_are_made_of_no_condition_are_named() -> None:
    trained, pairs = (
        "rows 6, 7, 8, 11 (of sketch, by --ablations)",
        "row 4 (of depth and keypose or sketch and color)",
    )
    local = "row 10 (of sketch or depth or keypose or seg)"
    of_what: dict[Name, list[str]] = {"depth": [pairs, trained], "color": [pairs, trained, local]}
    for condition, skipped in of_what.items():
        command = MiniatureCommand(rows=("4-11",), conditions=(condition,))
        assert command._describe_skipped() == "; ".join(skipped)
    assert MiniatureCommand(rows=("4-11",))._describe_skipped() == ""
    assert MiniatureCommand(rows=("1-3", "5"), conditions=("depth",))._describe_skipped() == ""
    for row, of in ("4", pairs), ("10", local):
        with pytest.raises(RequestError, match=f"--rows {row} must be of .* names, color: {re.escape(of)}"):
            MiniatureCommand(rows=(row,), conditions=("color",))


def test_which_conditions_the_rows_are_about() -> None:
    assert [each.number for each in FURTHER] == list(range(4, 12))
    assert choose_pairs(NAMES) == [("depth", "keypose"), ("sketch", "color")]
    assert choose_pairs(("sketch", "depth", "color")) == [("sketch", "color")]
    assert choose_local(NAMES) == [("sketch",), ("depth",), ("keypose",), ("seg",)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"steps": 0}, "--steps must be"),
        ({"samples": 1}, "--samples must be"),
        ({"few": 1}, "--few must be"),
        ({"conditions": ()}, "--conditions must"),
        ({"rows": ("12",)}, "--rows must be numbers"),
        (
            {"rows": ("6-8",), "conditions": ("depth",)},
            "--rows 6-8 must be of a condition that --ablations names too, and it names sketch",
        ),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=f"^{said}"):
        MiniatureCommand(**asked)
