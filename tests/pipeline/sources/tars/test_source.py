"""Tars as a source: every sample of every tar, under its own key where possible, with all that is known of it."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import s3fs
import webdataset as wds

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.download.shard import _unopened
from t2i_shards.pipeline.errors import RequestError, Unreachable
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.sources.base import Original
from t2i_shards.pipeline.sources.tars.source import TarsSource
from tests.conftest import CASES
from tests.faults.toys import make_images
from tests.pipeline.sources.tars.toys import JPEG, PNG, originals, planned, write_tar
from tests.pipeline.weak_line import weak_line


def make(root: Path, pattern: Path | str) -> Dataset:
    return make_images(root, TarsSource(str(pattern)), 2)


def img2dataset_tars(folder: Path) -> None:
    """Two shards of two samples, by img2dataset's own writer."""
    with _unopened("img2dataset"):
        from img2dataset.writer import WebDatasetSampleWriter

    import pyarrow as pa

    folder.mkdir()
    schema = pa.schema([(name, pa.string()) for name in ("key", "url", "caption", "sha256")])
    for shard in range(2):
        writer = WebDatasetSampleWriter(shard, str(folder), True, 5, schema, "jpg")
        for index in range(2):
            key, url = f"{shard:05d}{index:04d}", f"http://x/{shard}/{index}"
            writer.write(JPEG, key, f"caption {index}", {"key": key, "url": url, "caption": "c", "sha256": "ab"})
        writer.close()


def test_a_set_of_img2dataset(tmp_path: Path) -> None:
    img2dataset_tars(tmp_path / "set")
    assert {path.suffix for path in (tmp_path / "set").iterdir()} == {".tar", ".parquet"}
    dataset = make(tmp_path / "root", tmp_path / "set")
    assert dataset.description.is_crawl
    samples = [sample for shard in dataset.shards for sample in dataset.load(IMAGES, shard)]
    assert [sample.key for sample in samples] == ["000000000", "000000001", "000010000", "000010001"]
    info = read_info(samples[3])
    assert info.captions == ("caption 1",)
    told = {"url": "http://x/1/1", "caption": "c", "sha256": "ab", "key": "000010001", "tar": "00001.tar"}
    assert info.source == {"location": "00001.tar/000010001.jpg", **told}
    assert remove(dataset, "urls", ["http://x/1/1"]).removed == ("000010001",)


def test_a_set_of_webdataset_in_a_bucket(tmp_path: Path, bucket: str) -> None:
    import boto3

    for name, keys in (("a", "xy"), ("b", "zw")):
        with wds.TarWriter(str(tmp_path / f"{name}.tar")) as writer:
            for key in keys:
                writer.write({"__key__": key, "png": PNG, "json": {"caption": f"of {key}", "n": [1, None]}})
        boto3.client("s3").upload_file(
            str(tmp_path / f"{name}.tar"), bucket.removeprefix("s3://"), f"set/{name}.tar"
        )
    for pattern in (f"{bucket}/set/*.tar", f"{bucket}/set", str(tmp_path), f"file://{tmp_path}/?.tar"):
        rows, left_out = planned(pattern)
        assert [(row.key, row.captions) for row in rows] == [(key, (f"of {key}",)) for key in "wxyz"]
        assert not left_out
        found = originals(pattern, rows, tmp_path)
        assert [original.content for original in found if isinstance(original, Original)] == [PNG] * 4
    one, _ = planned(f"{bucket}/set/b.tar")
    assert [row.key for row in one] == ["w", "z"]


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases, which is not beside this checkout")
def test_the_case_of_img2dataset() -> None:
    rows, left_out = planned(CASES / "tars" / "*.tar")
    assert [row.key for row in rows] == ["000000000", "000000001", "000000002"]
    assert [row.captions for row in rows] == [("caption 0",), ("caption 1",), ("caption 2",)]
    assert not left_out


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        ("ab", "cd", ["a", "b", "c", "d"]),
        ("db", "ca", ["a", "b", "c", "d"]),
        ("ab", "bc", None),
        (["a", "é"], "c", None),
        (["a", "b c"], "d", None),
        (["a", "x/b"], "d", None),
        (["a", "b" * 65], "d", None),
    ],
)
def test_keys_are_kept_where_all_are_legal_and_unique(
    first: Any, second: Any, keys: list[str] | None, tmp_path: Path
) -> None:
    for name, of in (("1", first), ("2", second)):
        write_tar(tmp_path / f"{name}.tar", {f"{key}.{end}": JPEG for key in of for end in ("jpg",)} | {
            f"{key}.txt": f"of {key}" for key in of
        })  # fmt: skip
    rows, _ = planned(tmp_path)
    if keys:
        assert [row.key for row in rows] == keys
        assert all(row.captions == (f"of {row.key}",) for row in rows)
        return
    order = [*first, *second]
    assert [row.key for row in rows] == [f"{i:09d}" for i in range(len(order))]
    assert [row.captions for row in rows] == [(f"of {key}",) for key in order]
    found = originals(tmp_path, rows, tmp_path)
    assert [original.info["key"] for original in found if isinstance(original, Original)] == order


def test_a_tar_that_is_another_one_now_is_a_named_drop(tmp_path: Path) -> None:
    members: dict[str, Any] = {"a.jpg": JPEG, "a.txt": "a", "b.jpg": JPEG, "b.txt": "b"}
    path = write_tar(tmp_path / "1.tar", members)
    rows, _ = planned(tmp_path)
    write_tar(path, {"0.jpg": JPEG, **members})
    assert originals(tmp_path, rows, tmp_path) == ["tar changed since it was planned"] * 2
    path.write_bytes(path.read_bytes()[:600])
    assert originals(tmp_path, rows, tmp_path) == ["tar changed since it was planned"] * 2
    path.unlink()
    assert originals(tmp_path, rows, tmp_path) == ["no such file"] * 2
    path.mkdir()
    assert originals(tmp_path, rows, tmp_path) == ["file not readable"] * 2
    path.rmdir()
    failed = [(rows[0], "no such file"), (rows[1], "file not readable")]
    assert list(TarsSource(str(tmp_path)).again(failed)) == []
    write_tar(path, members)
    assert list(TarsSource(str(tmp_path)).again(failed)) == rows


def test_a_machine_without_the_folder_drops_nothing(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/1.tar", {"a.jpg": JPEG, "a.txt": "a"})
    rows, _ = planned(tmp_path / "set")
    (tmp_path / "set").rename(tmp_path / "elsewhere")
    with pytest.raises(RequestError, match=r"set: must exist on every machine that works$"):
        originals(tmp_path / "set", rows, tmp_path)


def test_an_outage_is_no_drop(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when a tar is opened nor when it is read; and it is waited for."""
    import boto3

    path = write_tar(tmp_path / "1.tar", {"a.jpg": JPEG, "a.txt": "a"})
    boto3.client("s3").upload_file(str(path), bucket.removeprefix("s3://"), "1.tar")
    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.WAITS", (0.0,))
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with weak_line(os.environ["AWS_ENDPOINT_URL"]) as (address, line):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        s3fs.S3FileSystem.clear_instance_cache()  # those of earlier tests ask the server without the line
        rows, _ = planned(bucket)
        for method in ("HEAD", "GET"):
            line.fails = lambda asked, path, before, away=method: "500" if asked == away else None
            with pytest.raises(Unreachable, match=r"cannot read 1\.tar"):
                originals(bucket, rows, tmp_path)
        line.fails = lambda asked, path, before: None
        assert isinstance(originals(bucket, rows, tmp_path)[0], Original)
    s3fs.S3FileSystem.clear_instance_cache()


def test_another_set_is_another_source(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/1.tar", {"a.jpg": JPEG, "a.txt": "a"})
    make(tmp_path / "root", tmp_path / "set")
    write_tar(tmp_path / "set/2.tar", {"b.jpg": JPEG, "b.txt": "b"})
    with pytest.raises(RequestError, match=r"was made with tars 1, this asks for 2"):
        make(tmp_path / "root", tmp_path / "set")


def test_hidden_files_are_ignored_and_no_tar_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/1.tar", {"a.jpg": JPEG, "a.txt": "a"})
    (tmp_path / "set/._1.tar").write_bytes(b"of a Mac")
    for pattern in ("set", "set/*"):
        assert len(planned(tmp_path / pattern)[0]) == 1
    with pytest.raises(RequestError, match=r"^must be tars, .*; none match "):
        planned(tmp_path / "*.tar")
    with tarfile.open(tmp_path / "set/2.tar.gz", "w:gz"):
        pass
    (tmp_path / "set/3.tar").write_bytes((tmp_path / "set/2.tar.gz").read_bytes())
    with pytest.raises(RequestError, match=r"3\.tar: must be a tar, not packed"):
        planned(tmp_path / "set")


def test_what_is_told_of_a_sample_cannot_name_another_place(tmp_path: Path) -> None:
    known = {"caption": "c", "location": "/etc/passwd", "tar": "other", "deep": {"a": [1.5, "é"]}}
    write_tar(tmp_path / "1.tar", {"a.jpg": JPEG, "a.json": known})
    dataset = make(tmp_path / "root", tmp_path / "1.tar")
    [sample] = dataset.load(IMAGES, 0)
    source = json.loads(bytes(sample.members["json"]))["source"]
    assert source == {"caption": "c", "deep": {"a": [1.5, "é"]}, "location": "1.tar/a.jpg", "tar": "1.tar"}
