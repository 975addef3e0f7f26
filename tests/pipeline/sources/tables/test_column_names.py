"""Columns are found by what sets call them, and named where they are not."""

from __future__ import annotations

from typing import Any

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.tables.column_names import find_columns


def test_the_best_name_counts_in_any_capitals() -> None:
    names = ["WIDTH", "Original_Width", "TEXT", "URL", "other"]
    assert find_columns(names, "t", {}) == {"url": "URL", "caption": "TEXT", "width": "Original_Width"}


def test_an_option_goes_before_what_is_found() -> None:
    assert find_columns(["url", "text", "mine"], "t", {"caption": "mine", "url": None})["caption"] == "mine"


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        (["url"], {}, "t: must have a column caption or text or alt_text or alt or captions, or the one that"),
        (["url", "text"], {"caption": "mine"}, "t: has no column 'mine' for --caption-column; it has url, text"),
        (["url", "text", "text"], {}, "t: must have each column once, and has text several times"),
    ],
)
def test_what_is_missing_or_twice_is_named(names: list[str], given: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as refused:
        find_columns(names, "t", given)
    assert str(refused.value).startswith(said)
