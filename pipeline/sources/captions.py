"""Captions of every source: bytes become text, and text becomes the one line that is stored.

The line is cleaned when it is planned, so that whatever ingest takes publish takes too.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter

from t2i_shards.pipeline.errors import Drop

LONGEST = 4096
"""Characters of a stored caption; text encoders read far less."""
MAX_BYTES = 1 << 20
"""Of a file of captions; a longer one is something else."""
UNREADABLE = "caption not readable"
SHORTENED = "captions shortened"
"""Counted among the notes of the plan: the caption is longer than LONGEST, and was cut at a word."""

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if not chr(code).isspace()}
_INVISIBLE = ("Cf", "Zs", "Zl", "Zp")


def find_utf16(head: bytes, least: float = 0.5) -> str | None:
    """The codec of text in UTF-16: by its byte order mark or, as no other text holds them, by its NULs; else None.

    head: the text, or its first bytes, an even number. least: the share of two bytes whose first, or whose second,
    must be NUL; of text with few Latin letters it is small. A third as many in the other are no text.
    """
    if head.startswith(UTF16_MARKS):
        return "utf-16"
    if b"\0" not in head or len(head) % 2:
        return None
    first, second = head[::2].count(0), head[1::2].count(0)
    if max(first, second) <= least * len(head) / 2 or 3 * min(first, second) >= max(first, second):
        return None
    return "utf-16-be" if first > second else "utf-16-le"


def decode_text(data: bytes, errors: str = "strict") -> str:
    """UTF-16 where a byte order mark or NULs say so, else UTF-8, else Windows-1252. Raises UnicodeDecodeError."""
    if codec := find_utf16(data):
        return data.decode(codec, errors)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors)


def decode_file(data: bytes) -> str:
    """The text of a caption file. Raises Drop("caption not readable") for what decodes to control characters.

    data: the whole file, or its first MAX_BYTES + 1.
    """
    if len(data) > MAX_BYTES:
        raise Drop(UNREADABLE)
    try:
        text = decode_text(data)
    except UnicodeDecodeError:
        raise Drop(UNREADABLE) from None
    if any(ord(character) in _CONTROLS for character in text):
        raise Drop(UNREADABLE)
    return text


def clean_caption(text: str, notes: Counter[str]) -> str:
    """The caption on one line of at most LONGEST characters; "" where none of them can be seen.

    Each run of white space becomes one space, control characters (Cc) are removed. Nothing else is changed: no
    case, no entity, no Unicode form. What had to be cut is counted in `notes`.
    """
    if text.isprintable() and "  " not in text:  # the only white space it can have is the plain space
        line = text.strip(" ")
    else:
        line = " ".join(text.translate(_CONTROLS).split())
        if all(unicodedata.category(character) in _INVISIBLE for character in line):
            return ""
    if len(line) <= LONGEST:
        return line
    notes[SHORTENED] += 1
    head, _, _ = line[: LONGEST + 1].rpartition(" ")
    return head or line[:LONGEST]


def clean_lines(text: str, notes: Counter[str]) -> list[str]:
    """The captions of a text file, one for each line that is not blank."""
    return [caption for line in text.splitlines() if (caption := clean_caption(line, notes))]
