"""Ingest: every planned row is a sample or a counted drop, and truth columns are aligned with the pictures."""

from __future__ import annotations

import hashlib
import io
import json
import weakref
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.outcomes import ROWS
from t2i_shards.pipeline.image.decode import read_picture
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.sample_info import SampleInfo, read_info
from t2i_shards.pipeline.sources.base import Original
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import choose_truths, claim_truths, plan_dataset
from t2i_shards.pipeline.stages.stage import StageResult
from tests.faults.toys import Pictures, make_images, problems, run_here

GEOMETRY = Geometry(size=64)


def ingest(
    root: Path, source: Any, shard_size: int = 4, truths: tuple[str, ...] = ()
) -> tuple[Dataset, list[StageResult]]:
    dataset = plan_dataset(str(root), source, GEOMETRY, shard_size)
    stage = Ingest(dataset, source, claim_truths(dataset, choose_truths(source, truths)))
    return dataset, run_here(stage, dataset.shards)


def outcomes(dataset: Dataset, shard: int) -> list[dict[str, Any]]:
    data = dataset.store.load(f"images/{shard:06d}.rows.parquet")
    table = pq.read_table(pa.BufferReader(pa.py_buffer(data)), use_threads=False)
    assert table.schema.equals(ROWS)
    found: list[dict[str, Any]] = table.to_pylist()
    return found


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """Good pictures and each kind of drop."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    frames = [Image.fromarray(np.full((64, 64, 3), 80 * i, np.uint8)) for i in range(3)]
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 150, 3), dtype=np.uint8))
    wide.save(folder / "0.png")
    wide.convert("CMYK").save(folder / "1.jpg")
    (folder / "2.jpg").write_bytes((folder / "1.jpg").read_bytes()[:3000])
    (folder / "3.png").write_bytes(b"<html>")
    frames[0].save(folder / "4.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (31, 200)).save(folder / "5.png")
    Image.new("F", (64, 64)).save(folder / "6.tif")
    wide.save(folder / "7.png")
    wide.convert("L").save(folder / "8.webp")
    for number in (0, 1, 2, 3, 4, 5, 6, 8):
        (folder / f"{number}.txt").write_text(f"caption {number}\nanother")
    return folder


def test_every_row_is_a_sample_or_a_counted_drop(strangers: Path, tmp_path: Path) -> None:
    dataset, made = ingest(tmp_path / "root", FolderSource(str(strangers)))
    receipts = [m.receipts[IMAGES] for m in made]
    assert [r.planned for r in receipts] == [4, 4, 1]
    assert all(r.samples + sum(r.drops.values()) == r.planned for r in receipts)
    assert [r.drops for r in receipts] == [
        {"truncated": 1, "not a picture": 1},
        {"animated": 1, "too small": 1, "unsupported mode": 1, "no caption": 1},
        {},
    ]
    assert [(r["key"][-1], r["status"]) for s in dataset.shards for r in outcomes(dataset, s)] == [
        ("0", "ok"),
        ("1", "ok"),
        ("2", "truncated"),
        ("3", "not a picture"),
        ("4", "animated"),
        ("5", "too small"),
        ("6", "unsupported mode"),
        ("7", "no caption"),
        ("8", "ok"),
    ]
    assert (outcomes(dataset, 0)[0]["width"], outcomes(dataset, 0)[0]["height"]) == (150, 100)
    cut = (strangers / "2.jpg").read_bytes()
    assert outcomes(dataset, 0)[2]["sha256"] == hashlib.sha256(cut).hexdigest()
    assert outcomes(dataset, 0)[2]["bytes"] == len(cut)
    assert problems(tmp_path / "root") == []


def test_what_a_sample_holds(strangers: Path, tmp_path: Path) -> None:
    dataset, _ = ingest(tmp_path / "root", FolderSource(str(strangers)))
    sample = dataset.load(IMAGES, 0)[0]
    assert list(sample.members) == ["jpg", "txt", "json"]
    assert bytes(sample.members["txt"]) == b"caption 0"
    known = json.loads(bytes(sample.members["json"]))
    picture = decode_rgb(sample.members["jpg"])
    assert picture.shape == (known["height"], known["width"], 3) == (64, 64, 3)
    assert known["captions"] == ["caption 0", "another"]
    assert known["source"] == {"location": "0.png", "path": "0.png"}
    assert known["placement"] == {"original": [150, 100], "resized": [96, 64], "crop": [16, 0, 64, 64]}
    original = read_picture((strangers / "0.png").read_bytes())
    assert abs(float(picture.mean()) - float(original[:, 25:125].mean())) < 3


def test_webdataset_alone_reads_it(strangers: Path, tmp_path: Path) -> None:
    dataset, _ = ingest(tmp_path / "root", FolderSource(str(strangers)))
    tars = [str(p) for p in sorted((tmp_path / "root" / "images").glob("*.tar"))]
    found = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).decode("rgb8"))
    assert [s["__key__"] for s in found] == [s.key for n in dataset.shards for s in dataset.load(IMAGES, n)]
    assert found[0]["txt"] == "caption 0"
    assert found[0]["json"]["captions"] == ["caption 0", "another"]
    assert found[0]["jpg"].shape == (64, 64, 3)


def test_truth_is_aligned_with_the_pictures(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(7), 3, ("sketch",))
    for shard in dataset.shards:
        pictures, maps = dataset.load(IMAGES, shard), dataset.load("sketch", shard)
        assert [s.key for s in maps] == [s.key for s in pictures]
        for picture, truth in zip(pictures, maps, strict=True):
            size = decode_rgb(picture.members["jpg"]).shape[:2]
            assert format_of("sketch").decode(truth.members).shape == size  # type: ignore[arg-type]
    assert problems(tmp_path / "root") == []
    assert dataset.recipe("sketch") == {"condition": "sketch", "made_by": "pictures"}


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """name -> (inode, time of the last write)"""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_truth_may_come_later(tmp_path: Path) -> None:
    make_images(tmp_path / "later", Pictures(7), 3)
    images = written(tmp_path / "later" / "images")
    make_images(tmp_path / "later", Pictures(7), 3, ("sketch",))
    make_images(tmp_path / "at-once", Pictures(7), 3, ("sketch",))
    assert written(tmp_path / "later" / "images") == images
    for name in ("000000.tar", "000001.tar", "000002.tar", "column.json"):
        assert (tmp_path / "later/sketch" / name).read_bytes() == (tmp_path / "at-once/sketch" / name).read_bytes()


@dataclass(frozen=True)
class Surrogate(Pictures):
    """What it knows of the rows of `bad` cannot be stored."""

    bad: tuple[int, ...] = ()

    def open(self, row: Row) -> Original:
        original = super().open(row)
        return replace(original, info={"by": "\ud800"}) if row.extra["i"] in self.bad else original


def test_a_row_whose_json_cannot_be_stored_is_counted_and_reported(tmp_path: Path) -> None:
    """Every second one, so that they are never a hundred in a row."""
    bad = tuple(range(0, 202, 2))
    dataset, made = ingest(tmp_path / "root", Surrogate(202, bad=bad), 202, ("sketch",))
    assert made[0].receipts[IMAGES].drops == {"failed (UnicodeEncodeError)": 101}
    assert made[0].errors[0].startswith("k00000: UnicodeEncodeError")
    keys = [f"k{number:05d}" for number in range(1, 202, 2)]
    assert [[s.key for s in dataset.load(column, 0)] for column in (IMAGES, "sketch")] == [keys, keys]
    assert [(row["key"], row["phash"] is None) for row in outcomes(dataset, 0)[:2]] == [
        ("k00000", True),
        ("k00001", False),
    ]


def test_what_is_known_of_pictures_is_in_memory_for_a_few_of_them_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs, most = list[weakref.ref[SampleInfo]](), 0

    def make(*fields: Any) -> SampleInfo:
        nonlocal most
        refs.append(weakref.ref(info := SampleInfo(*fields)))
        most = max(most, sum(ref() is not None for ref in refs))
        return info

    source = Surrogate(20, bad=(1, 2))
    whole, _ = ingest(tmp_path / "whole", source, 20, ("sketch",))
    monkeypatch.setattr("t2i_shards.pipeline.stages.ingest.SampleInfo", make)
    monkeypatch.setattr("t2i_shards.pipeline.stages.ingest.TOGETHER", 3)
    parts, _ = ingest(tmp_path / "parts", source, 20, ("sketch",))
    assert most <= 4 < len(refs)
    for column in (IMAGES, "sketch"):
        assert parts.load(column, 0) == whole.load(column, 0)
    assert outcomes(parts, 0) == outcomes(whole, 0)


def test_the_json_of_a_sample_has_the_bytes_that_it_always_had(tmp_path: Path) -> None:
    dataset, _ = ingest(tmp_path / "root", Pictures(1))
    [sample] = dataset.load(IMAGES, 0)
    info = replace(read_info(sample), source={"b": [1e-7, None, {"é\x7f\n": float("nan")}], "a": "</x>\u2028"})
    record = {**asdict(info), "source": {**info.source, "b": [1e-7, None, {"é\x7f\n": None}]}}
    text = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert info.encode() == text.encode()
    assert sample.members["json"] == read_info(sample).encode()


def test_a_finished_shard_is_left_alone(tmp_path: Path) -> None:
    _, first = ingest(tmp_path / "root", Pictures(6), 3, ("sketch",))

    class Gone(Pictures):
        def open(self, row: Row) -> Original:
            raise AssertionError("a finished shard was read again")

    _, again = ingest(tmp_path / "root", Gone(6), 3, ("sketch",))
    assert [m.receipts for m in again] == [m.receipts for m in first]


def test_it_works_on_s3(bucket: str, tmp_path: Path) -> None:
    there = make_images(f"{bucket}/root", Pictures(5), 3, ("sketch",))
    here = make_images(tmp_path / "root", Pictures(5), 3, ("sketch",))
    assert there.store.names("images") == here.store.names("images")
    for path in ("images/000000.tar", "images/000001.rows.parquet", "sketch/000001.tar", "plan/000000.parquet"):
        assert bytes(there.store.load(path)) == bytes(here.store.load(path))
    assert problems(f"{bucket}/root") == []
    assert io.BytesIO(there.store.load("dataset.json")).read() == bytes(here.store.load("dataset.json"))
