"""Filters: what passes, what doesn't and by which reason, at the limits and where nothing is known."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.laion.filters import REASONS, Filters
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.tables.text import MAX_URL
from tests.pipeline.laion_tables import planned, table, write

NAN = math.nan


def outcome(folder: Path, filters: Filters, content: pa.Table) -> tuple[list[str], dict[str, int]]:
    """(the rows that pass, by their number; how many don't, by reason)"""
    rows, left_out = planned(LaionSource(write(folder / "m.parquet", content), filters))
    return [row.key.lstrip("0") or "0" for row in rows], dict(left_out)


@pytest.mark.parametrize(
    ("filters", "column", "values", "passing", "reasons"),
    [
        (
            Filters(min_aesthetic=5.5),
            "AESTHETIC_SCORE",
            [5.4, 5.5, 9.0, None, NAN, math.inf],
            "12",
            {"aesthetic below minimum": 1, "aesthetic unknown": 3},
        ),
        (
            Filters(max_watermark=0.8),
            "pwatermark",
            [0.8, 0.81, 0.0, None, NAN],
            "02",
            {"watermark above maximum": 1, "watermark unknown": 2},
        ),
        (
            Filters(max_unsafe=0.1),
            "punsafe",
            [0.2, 0.1, None],
            "1",
            {"unsafe above maximum": 1, "unsafe unknown": 1},
        ),
        (
            Filters(min_similarity=0.3),
            "similarity",
            [0.29, 0.3, NAN],
            "1",
            {"similarity below minimum": 1, "similarity unknown": 1},
        ),
        (
            Filters(min_size=600),
            "HEIGHT",
            [599, 600, 5000, None, 0, -1],
            "12",
            {"size below minimum": 1, "size unknown": 3},
        ),
        (
            Filters(max_aspect=2.0),
            "HEIGHT",
            [399, 400, 1600, 1601, None],
            "12",
            {"aspect above maximum": 2, "size unknown": 1},
        ),
        (
            Filters(language=("en", "DE")),
            "LANGUAGE",
            ["en", "EN ", "de", "fr", "", None, "eng"],
            "012",
            {"language not asked for": 2, "language unknown": 2},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["float32", "float64", "dictionary"])
def test_a_filter_at_its_limit(
    filters: Filters,
    column: str,
    values: list[Any],
    passing: str,
    reasons: dict[str, int],
    kind: str,
    tmp_path: Path,
) -> None:
    if column == "LANGUAGE":
        typed = pa.array(values)
        typed = typed.dictionary_encode() if kind == "dictionary" else typed
    else:
        typed = pa.array(values, getattr(pa, kind)() if kind != "dictionary" else None, from_pandas=False)
    content = table(len(values), **{column: typed})
    assert outcome(tmp_path, filters, content) == (list(passing), reasons)


def test_without_a_filter_nothing_is_unknown(tmp_path: Path) -> None:
    empty = {name: pa.nulls(3) for name in ("WIDTH", "HEIGHT", "similarity", "punsafe", "AESTHETIC_SCORE")}
    assert outcome(tmp_path, Filters(), table(3, **empty)) == (["0", "1", "2"], {})


@pytest.mark.parametrize(
    ("column", "values", "reasons"),
    [
        ("URL", ["http://example.com/a", "", " \n", None], {"no url": 3}),
        (
            "URL",
            ["http://e.com/".ljust(MAX_URL, "a"), "http://e.com/".ljust(MAX_URL + 1, "a")],
            {"url too long": 1},
        ),
        ("TEXT", ["a", "", " \t\n", None, "\x00\x1b", "\u00a0\u2003", "\u0085"], {"no caption": 6}),
        ("TEXT", [" a", "\u00e9", "\u00a0b", "\x00c", "\u65e5\u672c"], {}),
    ],
)
def test_rows_without_url_or_caption(
    column: str, values: list[str | None], reasons: dict[str, int], tmp_path: Path
) -> None:
    passing, found = outcome(tmp_path, Filters(), table(len(values), **{column: values}))
    assert (len(passing), found) == (len(values) - sum(reasons.values()), reasons)


def test_a_row_counts_under_its_first_reason_only(tmp_path: Path) -> None:
    """Rows that fail from the k-th reason on, for every k: each is counted once, and by the k-th."""
    filters = Filters(5.0, 0.8, 0.5, 0.3, 512, 2.0, ("en",))
    spoilt = {
        "TEXT": "",
        "URL": "",
        "HEIGHT": 100.0,
        "similarity": 0.1,
        "punsafe": 0.9,
        "pwatermark": 0.9,
        "AESTHETIC_SCORE": 1.0,
        "LANGUAGE": "fr",
    }
    said = [
        "no caption",
        "no url",
        "size below minimum",
        "similarity below minimum",
        "unsafe above maximum",
        "watermark above maximum",
        "aesthetic below minimum",
        "language not asked for",
    ]
    count = len(spoilt)
    columns = table(count, LANGUAGE=["en"] * count).to_pydict()
    for number, (name, value) in enumerate(spoilt.items()):
        columns[name][number:] = [value] * (count - number)
    columns["URL"][0] = "http://example.com/0"
    for last in range(count):
        assert outcome(tmp_path, filters, pa.table(columns).slice(last, 1))[1:] == ({said[last]: 1},)


def plain_reason(row: dict[str, Any]) -> str | None:
    """The same rules, one row at a time, for Filters(0.2, 0.8, 0.8, 0.2, 200, 3.0, ("en",))."""
    language = row["LANGUAGE"]
    if language != "en":
        return "language not asked for" if language else "language unknown"
    for name, column, low, limit in (
        ("aesthetic", "AESTHETIC_SCORE", True, 0.2),
        ("watermark", "pwatermark", False, 0.8),
        ("unsafe", "punsafe", False, 0.8),
        ("similarity", "similarity", True, 0.2),
    ):
        value = row[column]
        if value is None or (value < limit if low else value > limit):
            return f"{name} " + ("unknown" if value is None else "below minimum" if low else "above maximum")
    sides = [row["WIDTH"], row["HEIGHT"]]
    if None in sides or min(sides) <= 0:
        return "size unknown"
    if min(sides) < 200:
        return "size below minimum"
    if max(sides) > 3 * min(sides):
        return "aspect above maximum"
    if not row["URL"] or len(row["URL"]) > MAX_URL:
        return "url too long" if row["URL"] else "no url"
    return None if row["TEXT"] else "no caption"


def test_whole_columns_are_judged_as_single_rows_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 20_000

    def holes(values: np.ndarray) -> pa.Array:
        return pa.array(values, mask=rng.random(count) < 0.05)

    content = table(
        count,
        URL=[["http://e.com", "http://e.com", "", "x" * 5000][i] for i in rng.integers(0, 4, count)],
        TEXT=[["a", "a", ""][i] for i in rng.integers(0, 3, count)],
        WIDTH=holes(rng.integers(0, 1000, count)),
        HEIGHT=holes(rng.integers(0, 1000, count)),
        similarity=holes(rng.random(count)),
        punsafe=holes(rng.random(count)),
        pwatermark=holes(rng.random(count)),
        AESTHETIC_SCORE=holes(rng.random(count)),
        LANGUAGE=pa.array([["en", "en", "de", "", None][i] for i in rng.integers(0, 5, count)]),
    )
    filters = Filters(0.2, 0.8, 0.8, 0.2, 200, 3.0, ("en",))
    plain = [plain_reason(row) for row in content.to_pylist()]
    passing, reasons = outcome(tmp_path, filters, content)
    assert passing == [str(number) for number, reason in enumerate(plain) if reason is None]
    assert reasons == Counter(reason for reason in plain if reason)
    assert set(reasons) == set(REASONS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"min_aesthetic": NAN}, "--min-aesthetic must be a finite number, not nan"),
        ({"max_watermark": math.inf}, "--max-watermark must be a finite number, not inf"),
        ({"min_size": 0}, "--min-size must be at least 1 pixel, not 0"),
        ({"max_aspect": 0.5}, "--max-aspect must be a ratio of at least 1, not 0.5"),
        ({"max_aspect": NAN}, "--max-aspect must be a ratio of at least 1, not nan"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        Filters(**wrong)
    assert str(caught.value) == said
