"""Colours by code numbers (ITU-T H.273): the primaries and the curve that PNG's cICP chunk names, and the nclx box
of AVIF and HEIC. They become an ICC profile, which is applied as embedded ones are.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

D65, D50 = (0.95046, 1.0, 1.08906), (0.9642, 1.0, 0.8249)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
PRIMARIES = {
    1: ("sRGB", ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))),
    5: ("BT.470 BG", ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060))),
    6: ("SMPTE 170M", ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))),
    7: ("SMPTE 240M", ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))),
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
    12: ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
}
"""Code -> its name and the chromaticities of red, green and blue; all have the white of D65."""
UNSPECIFIED = 2
"""As primaries and as curve: those of sRGB."""
_SRGB = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
CURVES = {1: _SRGB, 6: _SRGB, 13: _SRGB, 14: _SRGB, 15: _SRGB, UNSPECIFIED: _SRGB, 4: (2.2,), 5: (2.8,), 8: (1.0,)}
"""Code -> parameters of an ICC curve. Pictures with a television camera's (1, 6, 14, 15) are meant for screens
that have about sRGB's, which browsers apply to them too. PQ and HLG (16, 18) are not among these: to be shown in
sRGB, a picture of high dynamic range has to be toned down, and there is no one way to do so.
"""
BOXES = 1000
"""Of a file that are looked at."""


def read_codes(data: bytes, image: Image.Image) -> tuple[int, int] | None:
    """(primaries, curve) of the file of an opened picture; None where it names none."""
    if image.format == "PNG":
        return _find_cicp(data)
    if image.format == "AVIF":
        return _find_nclx(data)
    if found := image.info.get("nclx_profile"):  # by pillow_heif
        return int(found["color_primaries"]), int(found["transfer_characteristics"])
    return None


@functools.lru_cache(maxsize=8)
def make_icc(primaries: int, curve: int) -> bytes | None:
    """The ICC profile (ICC.1:2022) of these codes; b"" for sRGB's, None for those that are not known here."""
    of = 1 if primaries == UNSPECIFIED else primaries
    parameters = CURVES.get(curve)
    if of not in PRIMARIES or parameters is None or (primaries == curve == UNSPECIFIED):
        return None
    if of == 1 and parameters == _SRGB:
        return b""
    name, chromaticities = PRIMARIES[of]
    kind = 3 if len(parameters) > 1 else 0
    para = b"para" + struct.pack(">4xHxx", kind) + b"".join(map(_fixed, parameters))
    text = f"{name} (H.273 {primaries}/{curve})".encode("utf-16-be")
    description = b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(text), 28) + text
    tags = {b"desc": description, b"cprt": description, b"wtpt": _xyz(D50)}
    columns = _adapt(chromaticities)
    for band, column in zip((b"r", b"g", b"b"), columns.T, strict=True):
        tags |= {band + b"XYZ": _xyz(column), band + b"TRC": para}
    return _write_profile(tags)


def _find_cicp(data: bytes) -> tuple[int, int] | None:
    at = 8
    for _ in range(BOXES):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"cICP" and size == 4 and len(data) >= at + 12:
            return data[at + 8], data[at + 9]
        if kind in (b"IDAT", b"PLTE", b"") or len(kind) < 4:
            return None
        at += 12 + size
    return None


def _find_nclx(data: bytes) -> tuple[int, int] | None:
    for start, stop in _find_boxes(data, 0, len(data), b"meta"):
        for properties in _find_boxes(data, start + 4, stop, b"iprp"):
            for container in _find_boxes(data, *properties, b"ipco"):
                for at, end in _find_boxes(data, *container, b"colr"):
                    if data[at : at + 4] == b"nclx" and end - at >= 8:
                        primaries, curve = struct.unpack_from(">HH", data, at + 4)
                        return primaries, curve
    return None


def _find_boxes(data: bytes, at: int, stop: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of the content of each box of a kind (ISO/IEC 14496-12, section 4.2)."""
    for _ in range(BOXES):
        if at + 8 > stop:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        size = stop - at if size == 0 else size
        if size < 8 or at + size > stop:  # a size of 64 bits is of media far larger than a header
            return
        if kind == wanted:
            yield at + 8, at + size
        at += size


def _adapt(chromaticities: tuple[tuple[float, float], ...]) -> np.ndarray:
    """float64 (3, 3): linear RGB under D65 to XYZ under D50 (Bradford)."""
    corners = np.array([[x / y, 1, (1 - x - y) / y] for x, y in chromaticities]).T
    to_xyz = corners * np.linalg.solve(corners, np.array(D65))
    cones = np.diag(BRADFORD @ D50 / (BRADFORD @ D65))
    return np.asarray(np.linalg.inv(BRADFORD) @ cones @ BRADFORD @ to_xyz)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Any) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _write_profile(tags: dict[bytes, bytes]) -> bytes:
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x04400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(map(_fixed, D50))
    return head + bytes(128 - len(head)) + table + body
