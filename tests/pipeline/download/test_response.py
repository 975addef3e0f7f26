"""Answers judged by their headers."""

from __future__ import annotations

from email.message import Message

import pytest

from t2i_shards.pipeline.download.reasons import ENCODED, FetchError
from t2i_shards.pipeline.download.response import _refuse_encoded


def headers(*codings: str) -> Message:
    message = Message()
    for coding in codings:
        message["Content-Encoding"] = coding
    return message


@pytest.mark.parametrize(
    "coding", ["", "identity", "UTF-8", "none", "aws-chunked", "binary", "aws-chunked, identity"]
)
def test_words_that_are_no_coding_are_ignored(coding: str) -> None:
    _refuse_encoded(headers(coding))


@pytest.mark.parametrize(
    "codings", [("gzip",), ("X-GZIP",), ("utf-8,br",), ("none", "deflate"), ("aws-chunked, zstd",)]
)
def test_what_is_packed_is_refused(codings: tuple[str, ...]) -> None:
    with pytest.raises(FetchError, match=ENCODED):
        _refuse_encoded(headers(*codings))
