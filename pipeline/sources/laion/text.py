"""URLs and captions as they come from the web."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

MAX_URL = 4096
"""Bytes. What is longer is a data blob or an attack; browsers and servers stop far below."""

CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if not chr(code).isspace()}
SHA256 = re.compile(r"[0-9a-f]{64}")


def clean_caption(text: bytes) -> str:
    """The caption on one line: each run of white space is one space, control characters (Cc) are gone.

    Nothing else is touched: no case, no entity, no Unicode form. Bytes that are not UTF-8 become U+FFFD.
    """
    caption = text.decode("utf-8", "replace")
    if caption.isprintable() and "  " not in caption:  # the only white space it can have is the plain space
        return caption.strip(" ")
    return " ".join(caption.translate(CONTROLS).split())


def clean_url(url: bytes) -> str:
    """The URL without white space around it; whether it may be fetched is decided when it is."""
    return url.decode("utf-8", "replace").strip()


def clean_digest(digest: bytes | None) -> str | None:
    """A sha256 as 64 small hex digits; None for anything else."""
    text = "" if digest is None else digest.decode("ascii", "replace").strip().lower()
    return text if SHA256.fullmatch(text) else None


def blank(texts: pa.LargeBinaryArray) -> np.ndarray:
    """bool (N,): where `clean_caption` would leave nothing."""
    empty, first = _first_bytes(texts)
    # What begins with a visible ASCII character is not blank; few captions are left to look at one by one.
    for index in np.flatnonzero(~empty & ((first <= 0x20) | (first >= 0x7F))):
        empty[index] = not clean_caption(texts[int(index)].as_py())
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
