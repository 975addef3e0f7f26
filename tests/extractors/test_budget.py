"""What a picture may cost: small files that are large to open are refused before a decoder takes anything."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors.budget import (
    EXIF_BYTES,
    MEMORY,
    SEGMENTS,
    STORED_PIXELS,
    TooCostly,
    read_jpeg_header,
    stored_size,
    webp_size,
)
from t2i_shards.extractors.maps import png
from t2i_shards.pipeline.image.decode import read_picture
from tests import bombs
from tests.conftest import HERE

MEGABYTE = 1 << 20


def jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG", **options)
    return file.getvalue()


def run_limited(code: str, room: int) -> subprocess.CompletedProcess[str]:
    """Run Python code that, once it has imported what it needs, may take `room` more bytes of address space."""
    prelude = """
    import resource
    from pathlib import Path
    def limit(room):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + room, resource.RLIM_INFINITY))
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(code).replace("LIMIT", f"limit({room})")
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300, check=False)


DECODE = """
import sys
from t2i_shards.extractors.maps import png
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.decode import decode_picture, read_picture
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.stored import decode_rgb
from tests import bombs
calls = [(eval(given), call) for given, call in {calls}]
LIMIT
for given, call in calls:
    try:
        eval(call)
        print("decoded")
    except Drop as drop:
        print("drop", drop.reason)
    except ValueError as error:
        print("refused", error)
"""

READ, STORED = "read_picture(given)", "decode_rgb(given)"

BOMBS = [
    ("bombs.lossless_webp(10_000)", READ, "drop too many pixels"),
    ("bombs.lossless_webp(10_000, 1)", READ, "drop too many pixels"),
    ("bombs.lossless_webp(10_000)", "decode_picture(given, Geometry(512))", "drop too many pixels"),
    ("bombs.many_scans(4000, 4000, 300)", READ, "drop too many scans"),
    ("bombs.many_scans(4000, 4000, 300)", STORED, "refused too many scans"),
    ("bombs.with_segments(b'Exif' + bytes(1002), 19_000)", READ, "drop too much metadata"),
    ("bombs.with_segments(b'http://ns.adobe.com/xap/1.0/', 100_000)", READ, "drop too much metadata"),
    ("bombs.flat_png(6000, 6000)", STORED, "refused not a JPEG"),
    ("bombs.flat_png(6000, 6000)", "png.decode_rgb(given)", "refused too many pixels"),
    ("bombs.flat_png(6000, 6000, 0)", "png.decode_grey(given)", "refused too many pixels"),
    ("bombs.flat_png(6000, 6000, 3)", "png.decode_indexed(given)", "refused too many pixels"),
]


def test_bombs_are_refused_in_little_memory() -> None:
    """64 MiB are a fortieth of what the first would take."""
    done = run_limited(DECODE.format(calls=[(given, call) for given, call, _ in BOMBS]), 64 * MEGABYTE)
    assert done.stdout.splitlines() == [said for _, _, said in BOMBS], done.stderr[-2000:]


def test_the_limit_on_memory_is_real() -> None:
    """The positive control: what is decoded takes its memory, so the refusals above came before it."""
    small, large = ("bombs.flat_png(500, 500)", READ), ("bombs.flat_png(5000, 5000)", READ)
    done = run_limited(DECODE.format(calls=[small, large]), 64 * MEGABYTE)
    assert done.stdout == "decoded\n"
    assert "MemoryError" in done.stderr


DEAREST = [
    "bombs.lossless_webp(6400)",
    "bombs.flat_png(10_000, 10_000, 6)",
    "bombs.flat_png(10_000, 10_000, 0, 16)",
]


@pytest.mark.soak
@pytest.mark.parametrize("given", DEAREST)
def test_the_dearest_that_is_decoded_fits_the_budget(given: str) -> None:
    done = run_limited(DECODE.format(calls=[(given, READ)]), MEMORY)
    assert done.stdout == "decoded\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": b"Exif\0\0" + bytes(60_000)}]
)
def test_the_header_of_a_lawful_jpeg(options: dict[str, object]) -> None:
    header = read_jpeg_header(jpeg(**options))
    assert header is not None
    assert (header.width, header.height) == (64, 48)
    assert header.scans == (10 if "progressive" in options else 1)
    assert header.plain == ("exif" not in options)


def test_junk_between_segments_hides_nothing() -> None:
    data = bombs.many_scans(4000, 4000, 300)
    for junk in (b"\0" * 50, b"\xff\xff\xff", b"\xff\x00", b"\xff\x01", b"\xff\xd0"):
        with pytest.raises(TooCostly, match="too many scans"):
            read_jpeg_header(data[:2] + junk + data[2:])


def test_metadata_has_a_limit_in_bytes_and_in_segments() -> None:
    piece = b"Exif\0\0" + bytes(60_000)
    assert read_jpeg_header(bombs.with_segments(piece, EXIF_BYTES // len(piece))) is not None
    with pytest.raises(TooCostly, match="too much metadata"):
        read_jpeg_header(bombs.with_segments(piece, EXIF_BYTES // len(piece) + 1))
    assert read_jpeg_header(bombs.with_segments(b"XMP", SEGMENTS - 50)) is not None
    with pytest.raises(TooCostly, match="too much metadata"):
        read_jpeg_header(bombs.with_segments(b"XMP", SEGMENTS))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xda", jpeg()[:100], b"\xff" * 999]
)
def test_what_has_no_scan_has_no_header(data: bytes) -> None:
    assert read_jpeg_header(data) is None


def test_what_a_shard_may_hold() -> None:
    assert stored_size(jpeg(), "JPEG") == (64, 48)
    assert stored_size(memoryview(png.encode_grey(np.zeros((3, 5), np.uint8))), "PNG") == (5, 3)
    side = int(STORED_PIXELS**0.5)
    assert stored_size(bombs.flat_png(side, side, 0), "PNG") == (side, side)
    with pytest.raises(TooCostly, match="too many pixels"):
        stored_size(bombs.flat_png(side + 1, side + 1, 0), "PNG")
    for data, kind in ((jpeg(), "PNG"), (bombs.flat_png(5, 5), "JPEG"), (b"", "PNG"), (b"", "JPEG")):
        with pytest.raises(ValueError, match=f"not a {kind}"):
            stored_size(data, kind)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0" + bytes(60)}])
def test_the_size_of_a_webp(options: dict[str, object]) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), 9, np.uint8)).save(file, "WEBP", **options)
    assert webp_size(file.getvalue()) == (64, 48)


def test_the_shortest_webp_is_seen_through() -> None:
    data = bombs.lossless_webp(100, 1)
    assert (len(data), webp_size(data)) == (28, (100, 100))
    assert read_picture(data).shape == (100, 100, 3)
    assert [webp_size(cut) for cut in (b"", b"RIFF", jpeg(), b"RIFF1234WEBPXXXX")] == [None] * 4
