"""A dataset that was begun under earlier rules for pictures continues under them."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import pytest
import simplejpeg
from PIL import Image

from t2i_shards.pipeline.dataset.create import create_dataset
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.pipeline.image.pictures import save, smooth
from tests.pipeline.image.profiles import make_rgb, to_profile

FIRST = {"size": 64, "fit": "aspect", "max_upscale": 2.0, "quality": 95}
"""The geometry as dataset.json had it then."""


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    (tmp_path / "in").mkdir()
    data = save(to_profile(smooth(64, 64), make_rgb()), "JPEG", quality=90, subsampling=2, icc_profile=make_rgb())
    (tmp_path / "in/a.jpg").write_bytes(data)
    (tmp_path / "in/a.txt").write_text("a")
    return FolderSource(str(tmp_path / "in"))


def make(dataset: Dataset, source: FolderSource) -> tuple[bytes, dict[str, str]]:
    """(the stored picture, what its json says of the source)"""
    stage = Ingest(dataset, source, {})
    stage.setup()
    stage(0)
    sample = dataset.load("images", 0)[0]
    return bytes(sample.members["jpg"]), dict(read_info(sample).source)


def test_it_continues_bit_for_bit(source: FolderSource, tmp_path: Path) -> None:
    root = str(tmp_path / "out")
    create_dataset(open_store(root), source.rows, 10, source.describe(), FIRST)
    found, known = make(plan_dataset(root, source, Geometry(64), 10), source)
    original = (tmp_path / "in/a.jpg").read_bytes()
    picture = simplejpeg.decode_jpeg(original, "RGB", fastupsample=True)
    _, expected = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert found == expected.tobytes()
    assert "profile" not in known
    assert Dataset.open(root).description.geometry == FIRST


@pytest.mark.parametrize("chroma", ["444", "420"])
def test_it_is_not_mixed_with_another_chroma(chroma: str, source: FolderSource, tmp_path: Path) -> None:
    root = str(tmp_path / "out")
    create_dataset(open_store(root), source.rows, 10, source.describe(), FIRST)
    with pytest.raises(RequestError, match=f"was made with chroma None, this asks for '{chroma}'"):
        plan_dataset(root, source, Geometry(64, chroma=chroma), 10)  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked", "sampling"), [(None, (1, 1)), ("444", (1, 1)), ("420", (2, 2))])
def test_a_new_one_keeps_its_chroma(
    asked: str | None, sampling: tuple[int, int], source: FolderSource, tmp_path: Path
) -> None:
    root = str(tmp_path / "out")
    dataset = plan_dataset(root, source, Geometry(64, chroma=asked), 10)  # type: ignore[arg-type]
    found, known = make(dataset, source)
    image = Image.open(io.BytesIO(found))
    assert image.layer[0][1:3] == sampling  # type: ignore[attr-defined]
    assert known["profile"] == "Display P3"
    again = plan_dataset(root, source, Geometry(64), 10)
    assert again.description.geometry == {**FIRST, "chroma": asked or "444"}
    other = "420" if asked != "420" else "444"
    with pytest.raises(RequestError, match=f"was made with chroma '{asked or '444'}', this asks for '{other}'"):
        plan_dataset(root, source, Geometry(64, chroma=other), 10)  # type: ignore[arg-type]


def test_more_pixels_are_a_rule_of_the_dataset(source: FolderSource, tmp_path: Path) -> None:
    root = str(tmp_path / "out")
    dataset = plan_dataset(root, source, Geometry(64, max_pixels=300_000_000), 10)
    assert Ingest(dataset, source, {}).geometry.max_pixels == 300_000_000
    with pytest.raises(RequestError, match="was made with max_pixels 300000000, this asks for None"):
        plan_dataset(root, source, Geometry(64), 10)
