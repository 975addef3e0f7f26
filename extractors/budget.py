"""What a picture may cost: limits on the memory and the time of decoding, applied to its header before it begins.

A file of a few bytes can ask for gigabytes or minutes, and a decoder takes them. Every place that decodes a
picture from elsewhere, or one of a received dataset, checks here first.
"""

from __future__ import annotations

import re
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PIXELS = 100_000_000
"""Of a picture as it is sent."""
STORED_PIXELS = 4096 * 8192
"""Of a picture or map in a shard. Pictures are stored with a short side of at most 4096, and twice that long."""
MEMORY = 1 << 30
"""Bytes that decoding one picture may take; about 40 megapixels of WEBP, more of all others."""
WORKER_MEMORY = MEMORY + (1 << 29)
"""Bytes of a worker that decodes others' pictures: one of the most expensive, the libraries, a shard's samples."""
SECONDS = 20.0
"""Of CPU for one picture. The most expensive one within the other limits takes a fifth of it."""
SCAN_PIXELS = 3_000_000_000
"""A JPEG's pixels times its scans, each of which visits every block again; about three seconds."""
SEGMENTS = 1000
"""Of a JPEG before its first scan. A colour profile takes up to 255, a telephone's depth map a hundred."""
EXIF_BYTES = 1 << 20
"""Of EXIF in a JPEG. One segment holds 64 KiB; some programs write several."""

_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES = _PROGRESSIVE | {0xC0, 0xC1, 0xC3, 0xC5, 0xC7, 0xC9, 0xCB, 0xCD, 0xCF}
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG markers without a length: TEM, RST0 to RST7, SOI."""
_PLAIN = frozenset({0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, *range(0xE3, 0xF0), 0xFE})
"""Segments that all decoders read alike, but for APP1 (Exif, XMP) and APP2 (colour profiles, MPF)."""
_MARKER = re.compile(rb"\xff[^\x00\xff]")


class TooCostly(ValueError):
    """The picture is not decoded. reason: a fixed phrase that drops can be counted by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class JpegHeader:
    """What comes before a JPEG's first scan; scans: how many there are at most, 1 where a decoder reads one.

    plain: grey or of three bands, of 8 bits each, and without the segments that turn it, describe its colours or
    announce a second view, and without those that one decoder skips and another refuses.
    """

    width: int
    height: int
    scans: int
    bands: int
    plain: bool

    @property
    def coefficient_bytes(self) -> int:
        """That a decoder holds for each pixel until the last of several scans."""
        return 2 * self.bands if self.scans > 1 else 0


def check_pixels(width: int, height: int, most: int = PIXELS) -> None:
    """Raises TooCostly("too many pixels")."""
    if width * height > most:
        raise TooCostly("too many pixels")


def check_memory(pixels: int, bytes_per_pixel: float) -> None:
    """Raises TooCostly("too many pixels") for a picture that MEMORY does not suffice for."""
    if pixels * bytes_per_pixel > MEMORY:
        raise TooCostly("too many pixels")


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Walk the segments as decoders do, junk between them skipped; None where no scan follows a frame header.

    Raises TooCostly: "too much metadata", "too many scans".
    """
    at, exif, width, height, bands, progressive, plain = 2, 0, 0, 0, 0, False, data[2:3] == b"\xff"
    for _ in range(SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return None
        marker, at = data[found.start() + 1], found.end()
        plain = plain and marker in _PLAIN
        if marker in _BARE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if marker == 0xDA:
            one = not progressive and data[at + 2 : at + 3] == bytes([bands])
            # A scan's data never holds this pair of bytes; other segments may, so this is the most there can be.
            scans = 1 if one else data.count(b"\xff\xda", at) + 1
            header = JpegHeader(width, height, scans, bands, plain and bands in (1, 3) and width * height > 0)
            if header.scans * (width * height + 10_000) > SCAN_PIXELS:
                raise TooCostly("too many scans")
            return header if bands else None
        if marker in _FRAMES and len(data) >= at + 8:
            height, width, bands = struct.unpack(">HHB", data[at + 3 : at + 8])
            progressive = marker in _PROGRESSIVE
            plain = plain and data[at + 2] == 8
        exif += length if marker == 0xE1 and data[at + 2 : at + 6] == b"Exif" else 0
        if exif > EXIF_BYTES:
            break
        at += length
    raise TooCostly("too much metadata")


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a WEBP's canvas, which its decoder takes as soon as it is made (RFC 9649, section 2)."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def stored_size(data: bytes | memoryview, kind: str) -> tuple[int, int]:
    """(width, height) of the bytes of a "JPEG" or "PNG". Raises ValueError unless a shard may hold such a one."""
    if kind == "PNG":
        head = bytes(data[:24])
        if head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR" or len(head) < 24:
            raise ValueError("not a PNG")
        width, height = struct.unpack(">II", head[16:24])
    else:
        header = read_jpeg_header(bytes(data)) if bytes(data[:2]) == b"\xff\xd8" else None
        if header is None:
            raise ValueError("not a JPEG")
        width, height = header.width, header.height
    check_pixels(width, height, STORED_PIXELS)
    return width, height


@contextmanager
def deadline(allowance: float = 1) -> Iterator[None]:
    """End this process (by SIGPROF) when the block takes more than `allowance` times SECONDS of CPU.

    A decoder cannot be interrupted, only killed, so this is for worker processes, whose parent continues their
    work.
    """
    signal.setitimer(signal.ITIMER_PROF, allowance * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
