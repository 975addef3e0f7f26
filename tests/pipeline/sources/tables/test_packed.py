"""Packed files: their content, or one line that says why not."""

from __future__ import annotations

import gzip
import io

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.tables.packed import FREE, open_packed

CONTENT = b"url,caption\n" * 1000


@pytest.mark.parametrize("known", [True, False])
def test_it_is_what_was_packed(known: bool) -> None:
    packed = gzip.compress(CONTENT) + gzip.compress(b"another member")
    with open_packed(io.BytesIO(packed), "a.csv.gz", len(packed) if known else None) as file:
        assert io.BufferedReader(file).read() == CONTENT + b"another member"  # type: ignore[type-var]


@pytest.mark.parametrize("known", [True, False])
def test_a_bomb_is_not_unpacked(known: bool) -> None:
    packed = gzip.compress(bytes(FREE + (1 << 20)), 1)
    size = len(packed) if known else None
    said = r"^a\.csv\.gz: must unpack to at most 67108864 bytes, 100 times its size$"
    with open_packed(io.BytesIO(packed), "a.csv.gz", size) as file, pytest.raises(RequestError, match=said):
        sum(map(len, iter(lambda: file.read(1 << 20), b"")))
