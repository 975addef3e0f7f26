"""A JPEG is read to its end or not at all, and its colours at their full resolution."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors.budget import read_jpeg_header
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.image.decode import decode_picture, read_picture
from t2i_shards.pipeline.image.geometry import Geometry, LegacyGeometry
from tests.pipeline.image.pictures import save, smooth

KINDS = {"baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_rows": 1}, "grey": {}}


def jpeg(kind: str, quality: int = 90) -> bytes:
    picture = smooth(150, 200)
    return save(picture[..., 0] if kind == "grey" else picture, "JPEG", quality=quality, **KINDS[kind])


def is_picture(data: bytes, geometry: Geometry | None = None) -> bool:
    try:
        decode_picture(data, geometry or Geometry(64))
    except Drop as drop:
        assert drop.reason in ("truncated", "not a picture")  # noqa: PT017
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_lacks_only_its_end_marker_is_a_picture(kind: str) -> None:
    data = jpeg(kind)
    assert data.endswith(b"\xff\xd9")
    assert (read_picture(data[:-2]) == read_picture(data)).all()
    assert (read_picture(data[:-1]) == read_picture(data)).all()
    if kind != "grey":  # of one component, the decoder itself does not miss it
        assert not is_picture(data[:-2], LegacyGeometry(64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_cut_is_none(kind: str) -> None:
    data = jpeg(kind)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    cuts = [
        *range(len(data) - 24, len(data) - 4),
        *range(300, len(data), 997),
        *scans[1:],
        *(s - 1 for s in scans[1:]),
    ]
    assert not [cut for cut in cuts if is_picture(data[:cut])]


def test_colours_of_half_resolution_are_interpolated() -> None:
    picture = smooth(128, 128)
    data = save(picture, "JPEG", quality=98, subsampling=2)
    fancy = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    new, old = (decode_picture(data, geometry).picture for geometry in (Geometry(128), LegacyGeometry(128)))
    assert np.abs(new - fancy).max() <= 1
    assert np.abs(old - fancy).mean() > 0.5


@pytest.mark.parametrize("geometry", [Geometry(64), Geometry(128), LegacyGeometry(64)])
@pytest.mark.parametrize("kind", [*KINDS, "cmyk"])
def test_one_that_is_plain_is_decoded_as_one_that_pillow_has_to_open(kind: str, geometry: Geometry) -> None:
    image = Image.fromarray(smooth(150, 200)).convert("CMYK")
    plain = save(image, "JPEG") if kind == "cmyk" else jpeg(kind)
    with_xmp = plain[:2] + b"\xff\xe1\0\x08XMP \0\0" + plain[2:]
    headers = [read_jpeg_header(data) for data in (plain, with_xmp)]
    assert [header and header.plain for header in headers] == [kind != "cmyk", False]
    one, other = (decode_picture(data, geometry) for data in (plain, with_xmp))
    assert (one.size, one.turned, one.profile) == (other.size, other.turned, other.profile)
    assert (one.picture == other.picture).all()


@pytest.mark.parametrize("at", ["start", "frame"])
@pytest.mark.parametrize("junk", [b"\0", b"\xff\x02\0\x04ab", b"\xff\x01", b"\xff\xde\0\x04ab"])
def test_one_of_odd_segments_is_for_pillow_to_judge(junk: bytes, at: str) -> None:
    """What Pillow refuses was no picture in earlier versions, and a shard that is made again must be the same."""
    data = jpeg("baseline")
    place = 2 if at == "start" else data.index(b"\xff\xc0")
    odd = data[:place] + junk + data[place:]
    try:
        Image.open(io.BytesIO(odd))
    except OSError:
        assert not is_picture(odd)
    else:
        assert (read_picture(odd) == read_picture(data)).all()
