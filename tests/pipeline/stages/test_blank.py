"""What is left of an erased sample decodes as before, and shows nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages.erase import blank_sample
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.faults.toys import fill

TRUTHS = ("sketch", "depth", "keypose", "seg")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source = ScenesSource(2, 64)
    dataset = plan_dataset(str(tmp_path_factory.mktemp("blank") / "root"), source, Geometry(64), 2)
    fill(dataset, source, TRUTHS)
    return dataset


def test_a_picture_is_grey_and_nothing_is_told_of_it(scenes: Dataset) -> None:
    [sample, _] = scenes.load(IMAGES, 0)
    blank, info = blank_sample(sample), read_info(sample)
    assert (blank.key, list(blank.members)) == (sample.key, list(sample.members))
    picture = decode_rgb(blank.members["jpg"])
    assert picture.shape == (info.height, info.width, 3)
    assert picture.min() == picture.max() == 128
    assert blank.members["txt"] == b""
    left = read_info(blank)
    assert (left.key, left.width, left.height) == (info.key, info.width, info.height)
    assert (left.captions, left.sha256, left.source) == (("",), None, {})
    assert info.captions[0]
    assert blank_sample(sample) == blank, "the same bytes each time"


@pytest.mark.parametrize("column", TRUTHS)
def test_a_map_of_the_same_size_shows_nothing(scenes: Dataset, column: str) -> None:
    form = next(form for form in formats().values() if column in form.members[0].split("."))
    [sample, _] = scenes.load(column, 0)
    members = {name: bytes(data) for name, data in sample.members.items()}
    blank = blank_sample(Sample(sample.key, members))
    assert blank.members.keys() == members.keys()
    shown = form.decode(blank.members)  # type: ignore[arg-type]
    assert form.size(shown) == form.size(form.decode(members))
    height, width = form.size(shown)
    assert (
        len(
            np.unique(form.render(shown, height * form.cell, width * form.cell).reshape(-1, form.channels), axis=0)
        )
        == 1
    )


def test_what_cannot_be_read_is_empty() -> None:
    sample = Sample("k", {"jpg": b"1", "json": b"{", "sketch.png": b"no", "latents.npy": b"", "own.bin": b"own"})
    assert blank_sample(sample) == Sample("k", dict.fromkeys(sample.members, b""))


def test_the_licence_stays_as_it_decides_whether_the_place_is_counted(scenes: Dataset) -> None:
    [sample, _] = scenes.load(IMAGES, 0)
    told = {"license": 4, "flickr_url": "http://f.example/1.jpg", "location": "1.jpg"}
    members = {**sample.members, "json": replace(read_info(sample), source=told).encode()}
    assert read_info(blank_sample(Sample(sample.key, members))).source == {"license": 4}
