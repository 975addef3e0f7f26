"""Rows of the plan: captions, digests and source columns, whatever the columns are called and however typed."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from t2i_shards.pipeline.sources.captions import clean_caption
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tables.text import blank, read_caption
from tests.pipeline.laion_tables import planned, table, write

DIGEST = "ab" * 32


def first_row(folder: Path, content: pa.Table) -> Row:
    rows, _ = planned(LaionSource(write(folder / "m.parquet", content)))
    return rows[0]


def test_a_row_of_laion_aesthetics(tmp_path: Path) -> None:
    row = first_row(tmp_path, table(1))
    assert replace(row, extra={}) == Row("000000000", "http://example.com/0.jpg", ("picture 0",))
    assert row.extra == {
        "width": 800,
        "height": 600,
        "similarity": 0.3,
        "hash": "-5",
        "punsafe": float(np.float32(0.01)),
        "pwatermark": float(np.float32(0.1)),
        "aesthetic": 6.5,
    }


@pytest.mark.parametrize(
    ("columns", "known"),
    [
        ({"URL": "u", "TEXT": "t", "aesthetic": 8.1, "LANGUAGE": "de"}, {"aesthetic": 8.1, "language": "de"}),
        ({"URL": "u", "TEXT": "t", "LICENSE": "?", "similarity": 0.3}, {"license": "unknown", "similarity": 0.3}),
        (
            {"url": "u", "caption": "t", "key": "1", "status": "success", "width": 256, "height": 256}
            | {"original_width": 900, "original_height": 700, "sha256": DIGEST},
            {"width": 900, "height": 700},
        ),
        (
            {"uid": "x", "url": "u", "text": "t", "original_width": 9, "original_height": 8, "sha256": DIGEST}
            | {"clip_b32_similarity_score": 0.1, "clip_l14_similarity_score": 0.2},
            {"width": 9, "height": 8, "similarity": 0.2},
        ),
        (
            {"url": "u", "text": "t", "width": 5, "height": 6, "watermark_score": 0.5}
            | {"aesthetic_score_laion_v2": 4.5, "clip_similarity_vitl14": 0.25, "image_phash": "c9"},
            {"width": 5, "height": 6, "pwatermark": 0.5, "aesthetic": 4.5, "similarity": 0.25},
        ),
        ({"url": "u", "caption": "t"}, {}),
    ],
)
def test_the_spellings_of_the_known_sets(columns: dict[str, Any], known: dict[str, Any], tmp_path: Path) -> None:
    row = first_row(tmp_path, pa.table({name: [value] for name, value in columns.items()}))
    assert row == Row("000000000", "u", ("t",), DIGEST if "sha256" in columns else None, known)


@pytest.mark.parametrize(
    ("digest", "kept"),
    [(DIGEST, DIGEST), (DIGEST.upper(), DIGEST), ("ab", None), ("zz" * 32, None), ("", None), (None, None)],
)
def test_only_a_sha256_is_a_digest(digest: str | None, kept: str | None, tmp_path: Path) -> None:
    assert first_row(tmp_path, table(1, sha256=pa.array([digest], pa.string()))).digest == kept


def test_what_is_not_a_number_is_null(tmp_path: Path) -> None:
    row = first_row(tmp_path, table(1, similarity=[math.nan], AESTHETIC_SCORE=[math.inf], WIDTH=[math.nan]))
    assert tuple(row.extra[name] for name in ("similarity", "aesthetic", "width")) == (None, None, None)


def test_a_hash_of_64_bits_without_sign_keeps_its_value(tmp_path: Path) -> None:
    row = first_row(tmp_path, table(1, hash=pa.array([2**64 - 1], pa.uint64())))
    assert row.extra["hash"] == str(2**64 - 1)


def test_a_column_that_is_stored_as_a_dictionary_gives_the_same_row(tmp_path: Path) -> None:
    """As pandas writes its categories."""
    plain = table(1, LANGUAGE=["en"], sha256=[DIGEST])
    coded = pa.table({name: plain[name].combine_chunks().dictionary_encode() for name in plain.column_names})
    assert first_row(tmp_path, coded) == first_row(tmp_path, plain)


def test_files_with_other_columns_give_rows_with_the_same(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table(1, pwatermark=None))
    write(tmp_path / "b.parquet", table(1, hash=None, LANGUAGE=["en"]))
    rows, _ = planned(LaionSource(str(tmp_path / "*.parquet")))
    assert [list(row.extra) for row in rows] == [list(rows[0].extra)] * 2
    assert [row.extra["pwatermark"] is None for row in rows] == [True, False]
    assert [row.extra["language"] for row in rows] == [None, "en"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a  cat,\n on\ta\u00a0mat ", "a cat, on a mat"),
        ("it\u2019s &amp; <b>B</b>, e\u0301", "it\u2019s &amp; <b>B</b>, e\u0301"),
        ("a\x00b\x1b[0m\x7f\x9fc", "ab[0mc"),
        ("\ufeffa \u200bb", "a \u200bb"),
        ("\u65e5\u672c\u3000\u8a9e", "\u65e5\u672c \u8a9e"),
        ("  a b", "a b"),
    ],
)
def test_captions_are_kept_faithfully_on_one_line(text: str, kept: str) -> None:
    assert read_caption(text.encode(), Counter()) == kept


def test_a_caption_that_is_not_utf8(tmp_path: Path) -> None:
    captions = pa.array([b"caf\xe9", b"a\x81b"], pa.binary())
    rows, _ = planned(LaionSource(write(tmp_path / "m.parquet", table(2, TEXT=captions))))
    assert [row.captions for row in rows] == [("caf\u00e9",), ("a\ufffdb",)]


def test_no_clean_caption_has_control_characters_or_wide_gaps() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        text = "".join(map(chr, rng.choice([*range(0x180), 0x2003, 0x2028, 0xFEFF], 30)))
        caption = read_caption(text.encode(), Counter())
        assert not {c for c in caption if unicodedata.category(c) == "Cc"}
        assert caption == " ".join(caption.split())
        assert clean_caption(caption, Counter()) == caption


@pytest.mark.parametrize("offset", [0, 3])
def test_blank_is_where_cleaning_leaves_nothing(offset: int) -> None:
    pieces = [None, "", " ", "a", "\x00", "\x00a", "\u00a0", "\u00e9", "\u2028\n", "\u00a0x", "~", "\x7f", "\x7f~"]
    texts = pa.array(pieces * 3).cast(pa.large_binary()).slice(offset)
    wanted = [text is None or not read_caption(text, Counter()) for text in texts.to_pylist()]
    assert blank(texts).tolist() == wanted
    assert blank(texts.take(pa.array([5, 1, 2]))).tolist() == [wanted[i] for i in (5, 1, 2)]
    assert blank(pc.cast(pa.nulls(2), pa.large_binary())).tolist() == [True, True]
    assert blank(texts.slice(0, 0)).tolist() == []


def test_real_rows(assets: Path) -> None:
    rows, left_out = planned(LaionSource(str(assets / "parquet" / "*.parquet")))
    assert len(rows) + left_out.total() == 1000
    assert len(rows) > 990
    assert not rows[0].extra
    assert rows[0].location.startswith("http://direct.rhapsody.com/imageserver/")
    assert rows[0].captions == ("Classical Masterpieces: Xerses & More, Vol. 8 by Various Artists",)
