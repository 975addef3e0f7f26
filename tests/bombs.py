"""Small files that are large to open, as a stranger may put them where a picture, a table or weights belong."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def lossless_webp(side: int, symbol_bits: int = 8) -> bytes:
    """A lawful WEBP of one grey, whose five prefix codes have one symbol each (RFC 9649, section 3.7.2).

    34 bytes with symbols of eight bits, 28 with those of one bit, which is black and transparent.
    """
    bits = Bits()
    for value, count in ((0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 1), (0, 3)):
        bits.add(value, count)
    bits.add(0, 3)  # no transform, no colour cache, one group of codes
    for symbol in (128, 128, 128, 255):  # green, red, blue, alpha
        bits.add(0b101 if symbol_bits == 8 else 0b001, 3)  # simple, one symbol, of so many bits
        bits.add(symbol if symbol_bits == 8 else 0, symbol_bits)
    bits.add(0b001, 3)  # distance: one symbol of one bit
    bits.add(0, 1)
    body = bits.to_bytes()
    body += b"\0" * (len(body) % 2)
    chunk = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunk)) + chunk


class Bits:
    """Bits, the lowest of each number first."""

    def __init__(self) -> None:
        self.value, self.count = 0, 0

    def add(self, value: int, count: int) -> None:
        self.value |= value << self.count
        self.count += count

    def to_bytes(self) -> bytes:
        return self.value.to_bytes(-(-self.count // 8), "little")


def flat_png(width: int, height: int, colour: int = 2, bits: int = 8) -> bytes:
    """A lawful PNG of zeros; colour type 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + width * channels * bits // 8)
    deflate = zlib.compressobj(1)
    rows = [deflate.compress(row * min(64, height - top)) for top in range(0, height, 64)]
    body = b"".join([*rows, deflate.flush()])
    palette = png_chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return make_png(width, height, bits, colour, body, palette)


def make_png(width: int, height: int, bits: int, colour: int, packed: bytes, palette: bytes = b"") -> bytes:
    """A PNG with these compressed pixels, whatever they are."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + palette + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes `scans` times; one scan of a flat picture is some hundred bytes."""
    file = io.BytesIO()
    Image.new("L", (width, height), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    start = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))
    return data[:-2] + data[start:-2] * scans + b"\xff\xd9"


def with_segments(piece: bytes, count: int, size: int = 128) -> bytes:
    """A JPEG with `count` APP1 segments that each carry `piece`."""
    file = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), 90, np.uint8)).save(file, "JPEG")
    data = file.getvalue()
    return data[:2] + (b"\xff\xe1" + struct.pack(">H", len(piece) + 2) + piece) * count + data[2:]
