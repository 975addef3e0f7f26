"""Duplicates are the same file, or look the same; each belongs to an earlier picture that is none itself."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import (
    NEAR,
    find_duplicates,
    mark_duplicates,
    match,
    near_hashes,
    read_duplicates,
)
from t2i_shards.pipeline.dataset.outcomes import perceive
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import make_images


def test_every_close_pair_is_found_and_no_other() -> None:
    random = np.random.default_rng(0)
    centres = random.integers(0, 1 << 63, 300, dtype=np.uint64)
    values = list(centres.tolist())
    for centre in centres[:200].tolist():
        bits = random.choice(64, random.integers(1, 9), replace=False)
        values.append(centre ^ sum(1 << int(bit) for bit in bits))
    found = near_hashes(np.unique(np.array(values, np.uint64)))
    pairs = {(a, b): n for a, near in found.items() for b, n in near}
    expected = {}
    for a, b in itertools.permutations(set(values), 2):
        if (a ^ b).bit_count() <= NEAR:
            expected[a, b] = (a ^ b).bit_count()
    assert pairs == expected
    assert 100 < len(expected) < 400


def test_a_duplicate_belongs_to_one_that_is_none() -> None:
    hashes = np.array([0, 0b111, 0b1111111, 0xFFFF << 40, 0b1, 0, 0b111], np.uint64)
    files = ["a", "b", "c", "d", "e", "a", "b"]
    assert list(match(files, hashes)) == [
        (1, 0, "near", 3),
        # Four bits from the one before, which is a duplicate itself, and seven from the first: kept.
        (4, 0, "near", 1),
        (5, 0, "exact", 0),
        (6, 0, "exact", 0),
    ]


def test_pictures_without_file_are_compared_by_looks_alone() -> None:
    assert list(match([None, None, None], np.array([5, 0xFF << 40, 5], np.uint64))) == [(2, 0, "near", 0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """0; 1 the same file; 2 the same at another size and quality; 3 its mirror image; 4 another picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(1)
    picture, other = (
        Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
            (400, 300), Image.Resampling.BICUBIC
        )
        for _ in range(2)
    )
    picture.save(folder / "0.jpg", quality=95)
    (folder / "1.jpg").write_bytes((folder / "0.jpg").read_bytes())
    picture.resize((200, 150)).save(folder / "2.jpg", quality=60)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "3.jpg")
    other.save(folder / "4.jpg")
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"caption {number}")
    return folder


def ingest(folder: Path, root: Path) -> Dataset:
    return make_images(root, FolderSource(str(folder)), 2)


def test_the_table_of_a_dataset(folder: Path, tmp_path: Path) -> None:
    dataset = ingest(folder, tmp_path / "root")
    table = mark_duplicates(dataset)
    told = [(r["shard"], r["key"][-1], r["of"][-1], r["kind"]) for r in table.to_pylist()]
    assert told == [(0, "1", "0", "exact"), (1, "2", "0", "near")]
    assert table.equals(find_duplicates(dataset))
    keys = read_duplicates(dataset, dataset.receipts(IMAGES))
    assert keys == {0: {"000000001"}, 1: {"000000002"}}
    # Another state of the dataset has another table.
    receipts = dict(dataset.receipts(IMAGES))
    del receipts[2]
    assert read_duplicates(dataset, receipts) is None


def test_a_stream_leaves_duplicates_out(folder: Path, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    dataset = ingest(folder, tmp_path / "root")
    with pytest.raises(RequestError, match=r"the duplicates of .* are not marked; run ingest again"):
        open_stream(root, [], duplicates=False)
    mark_duplicates(dataset)
    all_of_them, without = open_stream(root, []), open_stream(root, [], duplicates=False)
    assert (len(all_of_them), len(without)) == (5, 3)
    assert sorted(s.key[-1] for s in without.samples(0)) == ["0", "3", "4"]
    assert [s.key for s in without.samples(0, 1)] == [s.key for s in without.samples(0)][1:]
    assert all_of_them.digest != without.digest


def test_the_hash_is_of_looks_not_of_bytes() -> None:
    y, x = np.mgrid[:300, :400]
    picture = np.stack([x * 255 // 400, y * 255 // 300, (x + y) % 256], axis=2).astype(np.uint8)
    half = picture.reshape(150, 2, 200, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    one, other = int(perceive(picture), 16), int(perceive(half), 16)
    assert (one ^ other).bit_count() <= NEAR
    assert (one ^ int(perceive(np.ascontiguousarray(picture[:, ::-1])), 16)).bit_count() > 16
    assert len(perceive(picture)) == 16
