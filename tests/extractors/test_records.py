"""Records are what they should be, or refused with one line; never anything in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from t2i_shards.extractors.records import BadRecord, Count, Positive, decode_record


@dataclass(frozen=True)
class Toy:
    name: str
    size: tuple[Positive, Positive]
    share: float = 0.0
    counts: Mapping[str, Count] = field(default_factory=dict)


def test_what_is_right_comes_back() -> None:
    read = decode_record(b'{"name": "a", "size": [2, 3], "counts": {"b": 0}, "more": [1]}', Toy)
    assert read == Toy("a", (2, 3), 0.0, {"b": 0})
    assert decode_record(memoryview(b'{"a": 1}'), dict[str, Count]) == {"a": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"1e999",
        b"9" * 6000,
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"name": "a"}',
        b'{"name": 1, "size": [2, 3]}',
        b'{"name": "\\ud800", "size": [2, 3]}',
        b'{"name": "a", "size": [2]}',
        b'{"name": "a", "size": [2, 0]}',
        b'{"name": "a", "size": [2, true]}',
        b'{"name": "a", "size": [2, 3.5]}',
        b'{"name": "a", "size": [2, 1000000000000000000000]}',
        b'{"name": "a", "size": [2, 3], "counts": {"b": -1}}',
        b'{"name": "a", "size": [2, 3], "share": "NaN"}',
        b'{"name": "\\ud800", "size": [2, 3], "share": NaN}',
        b'{"name": "a", "size": [2, 3], "deep": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"name": "a", "size": [NaN, 3]}',
    ],
    ids=lambda data: data[:40].decode("ascii", "replace"),
)
def test_what_is_wrong_is_refused_in_one_line(data: bytes) -> None:
    for closed in (False, True):
        with pytest.raises(BadRecord, match=r"^must ") as refused:
            decode_record(data, Toy, closed)
        assert "\n" not in str(refused.value)


def test_unknown_fields_of_a_closed_record_are_refused() -> None:
    with pytest.raises(BadRecord, match="must have no field 'more'"):
        decode_record(b'{"name": "a", "size": [2, 3], "more": 1}', Toy, closed=True)


def test_the_nan_that_python_writes_is_read() -> None:
    read = decode_record(b'{"name": "a", "size": [2, 3], "share": NaN}', Toy)
    assert read.share != read.share
    found: dict[str, Any] = decode_record(b'{"a": -Infinity}', dict[str, Any])
    assert found == {"a": float("-inf")}
