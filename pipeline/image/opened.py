"""A picture by its header: what it is, how large, and whether its decoding can be afforded."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import AvifImagePlugin, Image

from t2i_shards.extractors import budget
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.cicp import make_icc, read_codes
from t2i_shards.pipeline.image.profile import MAX_BYTES

PILLOW_READS = 1 << 20
"""Bytes of one text or profile, unpacked; Pillow refuses a file with a larger one."""
TEXTS = 8 << 20
"""Bytes of all texts that are kept; far less than Pillow refuses."""
_HARMLESS = PILLOW_READS // 1032
"""Bytes that zlib cannot unpack to more than PILLOW_READS."""

CANVAS_BYTES = {"WEBP": 26, "AVIF": 26, "HEIF": 32}
"""Of memory for a pixel, where a codec decodes all at once: its canvases, its own copies, the bytes handed to
Pillow, its picture, and ours before and after it is turned."""

DAMAGED = (
    OSError, ValueError, SyntaxError, LookupError, EOFError, TypeError, ArithmeticError, struct.error, RuntimeError
)  # fmt: skip
"""What Pillow raises on damaged files; the last four come seldom, from headers of EXIF, TIFF and AVIF."""


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


@dataclass(frozen=True)
class OpenedPicture:
    """image: nothing of it decoded. coefficient_bytes: that a JPEG of several scans takes for each pixel. icc: its
    colour profile, also one that it names only by code numbers.

    allowance: times the common budget that its decoding may take.
    """

    image: Image.Image
    coefficient_bytes: int
    icc: bytes | None
    allowance: float

    def check_memory(self) -> None:
        """Raises TooCostly when Pillow and `convert_to_rgb` would take too much for it."""
        image = self.image
        held = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}.get(image.mode, 4)
        # libtiff may hold all of a picture that is one strip; a JPEG of several scans is held as coefficients.
        decoder = (4 if image.format == "TIFF" else 0) + self.coefficient_bytes
        per_pixel = CANVAS_BYTES.get(str(image.format), decoder + held + 6)
        budget.check_memory(image.width * image.height, per_pixel / self.allowance)

    @property
    def animated(self) -> bool:
        """False for what has further views or pages behind its picture: MPO and HEIF of telephones, TIFF."""
        return self.image.format not in ("MPO", "HEIF", "TIFF") and getattr(self.image, "n_frames", 1) > 1


def open_picture(data: bytes, formats: tuple[str, ...], most: int, coefficient_bytes: int) -> OpenedPicture:
    """Raises Drop("not a picture") and TooCostly. most: pixels that it may have. coefficient_bytes: of a JPEG."""
    profile = None
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        data, profile = trim_png(data)
    elif size := budget.webp_size(data):
        budget.check_memory(size[0] * size[1], CANVAS_BYTES["WEBP"])
    if "HEIF" in formats:
        prepare_codecs()
    try:
        with _pillow_opens(most):
            image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise Drop("too many pixels") from None
    except DAMAGED:
        raise Drop("not a picture") from None
    budget.check_pixels(*image.size, most)  # Pillow's own limit refuses only what is twice as large
    icc = _find_icc(data, image, profile or image.info.get("icc_profile"))
    return OpenedPicture(image, coefficient_bytes, icc, max(1.0, most / budget.PIXELS))


def _find_icc(data: bytes, image: Image.Image, embedded: bytes | None) -> bytes | None:
    """The embedded profile, or that of the code numbers; in PNG these go first (third edition)."""
    codes = read_codes(data, image) if image.format == "PNG" or not embedded else None
    named = make_icc(*codes) if codes else None
    return embedded if named is None else named


@contextmanager
def _pillow_opens(most: int) -> Iterator[None]:
    """Let Pillow open what has more pixels than it would by itself."""
    before = Image.MAX_IMAGE_PIXELS
    if before is not None and most > before:
        Image.MAX_IMAGE_PIXELS = most
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@functools.cache
def prepare_codecs() -> None:
    """Make HEIF known to Pillow; workers that share a machine get one thread each for it and for AVIF."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
