"""Colour profiles, written by hand (ICC.1:2001-04): three primaries, one grey, four inks."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
"""Colorants of Display P3, adapted to D50."""
D50 = (0.9642, 1.0, 0.8249)


def srgb_curve(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def make_rgb(colorants: tuple[tuple[float, ...], ...] = P3, name: str = "Display P3") -> bytes:
    curve = _curve(srgb_curve)
    tags = {b"wtpt": _xyz(D50), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    tags |= {band + b"XYZ": _xyz(colorant) for band, colorant in zip((b"r", b"g", b"b"), colorants, strict=True)}
    return _profile(b"RGB ", b"XYZ ", tags, name)


def make_grey(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": _xyz(D50), b"kTRC": _curve(lambda x: x**gamma)}, "grey")


def make_inks(colour: Callable[[tuple[int, ...]], tuple[float, float, float]]) -> bytes:
    """A press. colour: (c, m, y, k), each 0 or 1 -> its L*a*b*."""
    table = bytes(range(256))
    nodes = b"".join(
        bytes([round(lab[0] * 2.55), round(lab[1]) + 128, round(lab[2]) + 128])
        for lab in map(colour, itertools.product((0, 1), repeat=4))
    )
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * table + nodes + 3 * table
    return _profile(b"CMYK", b"Lab ", {b"wtpt": _xyz(D50), b"A2B0": lut, b"A2B1": lut}, "press")


def to_profile(picture: np.ndarray, icc: bytes) -> np.ndarray:
    """The same colours as sRGB has them in `picture`, in numbers of the profile."""
    import io

    target = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    converted = ImageCms.profileToProfile(Image.fromarray(picture), ImageCms.createProfile("sRGB"), target)
    assert converted is not None
    return np.asarray(converted)


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(function: Callable[[np.ndarray], np.ndarray]) -> bytes:
    values = np.round(function(np.linspace(0, 1, 1024)) * 65535).astype(">u2")
    return b"curv" + struct.pack(">4xI", len(values)) + values.tobytes()


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes], name: str) -> bytes:
    text = name.encode() + b"\0"
    desc = b"desc" + struct.pack(">4xI", len(text)) + text + bytes(78)
    entries = {b"desc": desc, b"cprt": b"text" + bytes(4) + b"none\0", **tags}
    table, body = struct.pack(">I", len(entries)), b""
    for tag, content in entries.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", 132 + 12 * len(entries) + len(body), len(content))
        body += content
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(
        ">I4sI4s4s4s", 132 + len(table) - 4 + len(body), bytes(4), 0x02400000, kind, space, connection
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *(round(v * 65536) for v in D50))
    return head + bytes(128 - len(head)) + table + body
