"""Receipts: their arithmetic, their bytes, and what is refused as none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json, shard_name, to_compact_json, to_json
from t2i_shards.pipeline.shards.receipt_table import digest_receipts
from t2i_shards.pipeline.shards.sample import digest_keys, is_key

RECEIPT = Receipt(
    column="sketch",
    shard=3,
    planned=5,
    samples=3,
    bytes=1024,
    sha256="ab" * 32,
    keys=digest_keys(["a", "b", "c"]),
    recipe="cd" * 32,
    input="ef" * 32,
    drops={"failed (ValueError)": 2},
    dropped={"d": "failed (ValueError)", "é": "failed (ValueError)"},
    seconds=1.5,
)


def test_it_comes_back_as_it_was() -> None:
    assert Receipt.decode(RECEIPT.encode(), "sketch/000003.json") == RECEIPT
    assert Receipt.decode(memoryview(RECEIPT.encode()), "there") == RECEIPT
    assert RECEIPT.encode() == Receipt.decode(RECEIPT.encode(), "there").encode()


@pytest.mark.parametrize("wrong", [{"samples": 4}, {"planned": 4}, {"drops": {}}, {"drops": {"a": 1, "b": 2}}])
def test_samples_and_drops_must_be_what_was_planned(wrong: dict[str, Any]) -> None:
    with pytest.raises(DamagedShard, match=r"^there: samples \+ drops must be what was planned, but "):
        Receipt.decode(replace(RECEIPT, **wrong).encode(), "there")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"{}",
        b"\xff",
        *(RECEIPT.encode()[:n] for n in range(0, len(RECEIPT.encode()) - 2, 50)),
    ],
)
def test_what_is_no_receipt(data: bytes) -> None:
    with pytest.raises(DamagedShard, match=r"^there: not a receipt "):
        Receipt.decode(data, "there")


@pytest.mark.parametrize(
    "wrong",
    [
        {"drops": None},
        {"drops": [1]},
        {"drops": {"a": -1, "b": 3}},
        {"samples": "3"},
        {"samples": -2},
        {"samples": 10**30, "planned": 10**30 + 2},
        {"planned": None},
        {"bytes": 1.5},
        {"shard": 10**7},
        {"more": 1},
    ],
)
def test_a_field_of_another_kind_is_no_receipt(wrong: dict[str, Any]) -> None:
    record = json.loads(RECEIPT.encode()) | wrong
    with pytest.raises(DamagedShard, match=r"^there: "):
        Receipt.decode(to_json(record), "there")


@pytest.mark.parametrize("name", ["sha256", "keys", "input", "rows"])
@pytest.mark.parametrize("digest", ["", "ab", "AB" * 32, "ab" * 33, "ab" * 32 + "\n"])
def test_a_digest_is_64_digits(name: str, digest: str) -> None:
    with pytest.raises(DamagedShard, match=f"^there: {name} must be 64 hexadecimal digits, not '"):
        Receipt.decode(replace(RECEIPT, **{name: digest}).encode(), "there")  # type: ignore[arg-type]


def test_another_format_is_refused() -> None:
    with pytest.raises(DamagedShard, match="there: a receipt must have format 1, has 2"):
        Receipt.decode(replace(RECEIPT, format=2).encode(), "there")


def test_digests_do_not_depend_on_order() -> None:
    assert digest_json({"a": 1, "b": [2]}) == digest_json({"b": [2], "a": 1})
    assert digest_json([1, 2]) != digest_json([2, 1])
    other = replace(RECEIPT, shard=4, sha256="00" * 32)
    assert digest_receipts({3: RECEIPT, 4: other}) == digest_receipts({4: other, 3: RECEIPT})


def test_the_digest_of_a_column_is_of_its_content_alone() -> None:
    base = digest_receipts({3: RECEIPT})
    assert digest_receipts({3: replace(RECEIPT, seconds=9.0, recipe="other")}) == base
    assert digest_receipts({3: replace(RECEIPT, sha256="00" * 32)}) != base
    assert digest_receipts({3: replace(RECEIPT, keys="00" * 32)}) != base
    assert digest_receipts({4: RECEIPT}) != base


def test_the_digest_of_keys_is_of_their_order_and_borders() -> None:
    assert len({digest_keys(keys) for keys in (["a", "b"], ["b", "a"], ["ab"], ["a"], [], ["", "ab"])}) == 6


def test_names_sort_as_numbers() -> None:
    assert [shard_name(n) for n in (0, 12, 999_999)] == ["000000", "000012", "999999"]


@pytest.mark.parametrize(
    ("text", "good"), [("aZ09_-", True), ("", False), ("a.b", False), ("a/b", False), ("a\n", False), ("é", False)]
)
def test_keys(text: str, good: bool) -> None:
    assert is_key(text) is good


@pytest.mark.parametrize("write", [to_json, to_compact_json])
def test_json_has_null_for_a_number_that_is_not_finite(write: Callable[[Any], bytes]) -> None:
    """A source's column may hold NaN, and no parser but Python's reads that."""
    record = {"b": [1.5, float("nan")], "a": {"c": float("-inf")}, "é": 1}
    assert json.loads(write(record), parse_constant=pytest.fail) == {"a": {"c": None}, "b": [1.5, None], "é": 1}
    assert write(record).index(b'"a"') < write(record).index(b'"b"')
