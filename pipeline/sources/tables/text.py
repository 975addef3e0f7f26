"""URLs and captions as they come from the web."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.sources.captions import clean_caption, decode_text

MAX_URL = 4096
"""Bytes. What is longer is a data blob or an attack; browsers and servers stop far below."""

SHA256 = re.compile(r"[0-9a-f]{64}")


def read_caption(text: bytes, notes: Counter[str]) -> str:
    """The caption as it is stored; bytes that no encoding has become U+FFFD. notes: what had to be cut."""
    return clean_caption(decode_text(text, "replace"), notes)


def read_captions(texts: bytes | list[bytes | None], notes: Counter[str]) -> tuple[str, ...]:
    """The captions of a row that has one or a list of them; blank ones of a list are left out."""
    several = texts if isinstance(texts, list) else [texts]
    return tuple(caption for text in several if text and (caption := read_caption(text, notes)))


def clean_url(url: bytes) -> str:
    """The URL without white space around it; whether it may be fetched is decided when it is."""
    return url.decode("utf-8", "replace").strip()


def clean_digest(digest: bytes | None) -> str | None:
    """A sha256 as 64 small hex digits; None for anything else."""
    text = "" if digest is None else digest.decode("ascii", "replace").strip().lower()
    return text if SHA256.fullmatch(text) else None


def blank(texts: pa.Array) -> np.ndarray:
    """bool (N,): where `read_caption` would leave nothing; of lists, where it would of every text."""
    if pa.types.is_list(texts.type):
        return _blank_lists(texts)
    empty, first = _first_bytes(texts)
    # What begins with a visible ASCII character is not blank; few captions are left to look at one by one.
    for index in np.flatnonzero(~empty & ((first <= 0x20) | (first >= 0x7F))):
        empty[index] = not read_caption(texts[int(index)].as_py(), Counter())
    return empty


def _blank_lists(lists: pa.ListArray) -> np.ndarray:
    rows = lists.value_parent_indices().to_numpy()
    seen = np.bincount(rows, ~blank(lists.flatten()), len(lists))
    empty: np.ndarray = seen == 0
    return empty


def _first_bytes(texts: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """(no byte at all: bool (N,), first byte: uint8 (N,), 0 where there is none)"""
    first = np.zeros(len(texts), np.uint8)
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return np.ones(len(texts), bool), first
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    empty = texts.is_null().to_numpy(zero_copy_only=False) | (bounds[1:] == bounds[:-1])
    first[~empty] = np.frombuffer(data, np.uint8)[bounds[:-1][~empty]]
    return empty, first
