"""PNG: the texts and profiles in a file may be larger than Pillow reads."""

from __future__ import annotations

import zlib

from t2i_shards.pipeline.image.profile import MAX_BYTES

PILLOW_READS = 1 << 20
"""Bytes of one text or profile, unpacked; Pillow refuses a file with a larger one."""
TEXTS = 8 << 20
"""Bytes of all texts that are kept; far less than Pillow refuses."""
_HARMLESS = PILLOW_READS // 1032
"""Bytes that zlib cannot unpack to more than PILLOW_READS."""


def trim_png(data: bytes) -> tuple[bytes, bytes | None]:
    """(the file without the texts and the profile that are too large for Pillow, such a profile)

    Texts carry the workflow that painted a picture, or its editing history, and no pixel.
    """
    at, start, texts = 8, 0, 0
    kept, profile = list[bytes](), None
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        dropped = False
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            size = _text_size(kind, data[at + 8 : end - 4])
            texts += size
            dropped = size > PILLOW_READS or texts > TEXTS
        elif kind == b"iCCP" and end - at > _HARMLESS:
            found = _unpack(data[at + 8 : end - 4].partition(b"\0")[2][1:], MAX_BYTES + 1)
            dropped = len(found) > PILLOW_READS
            profile = found if dropped else profile
        if dropped:
            kept.append(data[start:at])
            start = end
        at = end
    return (b"".join([*kept, data[start:]]) if kept else data), profile


def _text_size(kind: bytes, content: bytes) -> int:
    """Bytes of the text as it is unpacked, at most a little more than PILLOW_READS."""
    text = content.partition(b"\0")[2]
    if kind == b"iTXt" and text[:1] == b"\1":  # its language and translated keyword come before the packed text
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif kind == b"zTXt":
        text = text[1:]
    else:
        return len(text)
    return len(text) if len(text) <= _HARMLESS else len(_unpack(text, PILLOW_READS + 1))


def _unpack(packed: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, most)
    except zlib.error:
        return b""
