"""What cannot be published is refused by name before anything is written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.publish.index import scan
from t2i_shards.pipeline.publish.survey import MAX_CAPTION
from t2i_shards.pipeline.shards.receipt import Receipt, to_json
from t2i_shards.pipeline.shards.sample import Sample, digest_keys
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.shards.tar import END, TarWriter
from tests.bombs import flat_png
from tests.faults.toys import Pictures, make_images
from tests.pipeline.publish.toys import (
    contents,
    keys_of,
    publish_here,
    rewrite_images,
    toy_dataset,
    with_known,
)


def refused(dataset: Dataset, to: Path, match: str, **asked: object) -> None:
    with pytest.raises(RequestError, match=match):
        publish_here(dataset, to, **asked)  # type: ignore[arg-type]
    assert not to.exists()


def with_caption(caption: bytes) -> Callable[[list[Sample]], list[Sample]]:
    def change(samples: list[Sample]) -> list[Sample]:
        bad = dataclasses.replace(samples[3], members={**samples[3].members, "txt": caption})
        return [*samples[:3], bad, *samples[4:]]

    return change


@pytest.mark.parametrize(
    ("caption", "match"),
    [
        (b"a bell \x07 rings", r"images/000000: k00003: a caption must have no control characters.*'\\x07'"),
        ("a line\x85break".encode(), "k00003: a caption must have no control characters"),
        (b"two\nlines", "k00003: a caption must have no control characters"),
        (b"x" * (1 << 20), f"k00003: a caption must have at most {MAX_CAPTION} bytes, this one has 1048576"),
        (b"caf\xe9", "k00003: its txt must be UTF-8"),
    ],
)
def test_captions(tmp_path: Path, caption: bytes, match: str) -> None:
    dataset = rewrite_images(make_images(tmp_path / "root", Pictures(8), 8), with_caption(caption))
    refused(dataset, tmp_path / "to", match)
    # As the line says, what cannot be published can be left out.
    path = tmp_path / "root/images/000000.rows.parquet"
    assert path.exists()
    remove(dataset, "keys", ["k00003"])
    publish_here(dataset, tmp_path / "to")
    assert keys_of(tmp_path / "to") == [f"k{i:05d}" for i in range(8) if i != 3]


def test_a_caption_of_the_json_counts_too(tmp_path: Path) -> None:
    dataset = rewrite_images(
        make_images(tmp_path / "root", Pictures(2), 2),
        lambda samples: [samples[0], with_known(samples[1], captions=["fine", "a\x00b"])],
    )
    refused(dataset, tmp_path / "to", "k00001: a caption must have no control characters")


def test_umlauts_and_emojis_are_no_control_characters(tmp_path: Path) -> None:
    caption = "Grüße 🦊 \u200d\t“quoted”"
    dataset = rewrite_images(make_images(tmp_path / "root", Pictures(8), 8), with_caption(caption.encode()))
    publish_here(dataset, tmp_path / "to")
    assert len(keys_of(tmp_path / "to")) == 8


def test_a_key_with_a_dot(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4)
    samples = dataset.load(IMAGES, 0)
    dotted = [Sample("k.00002" if s.key == "k00002" else s.key, s.members) for s in samples]
    old = dataset.receipts(IMAGES)[0]
    tar = tmp_path / "root/images/000000.tar"
    data = tmp_path / "other.tar"
    with open(data, "wb") as file:
        writer = TarWriter(file)
        for sample in dotted:
            writer.add(sample)
        sha256 = writer.close()
    tar.unlink()
    data.rename(tar)
    keys = [s.key.partition(".")[0] for s in dotted]
    receipt = dataclasses.replace(old, sha256=sha256, bytes=writer.bytes, keys=digest_keys(keys))
    (tmp_path / "root/images/000000.json").write_bytes(receipt.encode())
    refused(dataset, tmp_path / "to", r"images/000000: k has the members 00002.jpg.*a key must hold no dot")


def test_a_key_in_two_shards(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(8), 4)
    first = dataset.load(IMAGES, 0)
    dataset = rewrite_images(dataset, lambda samples: [*samples[:3], first[1]], shard=1)
    refused(dataset, tmp_path / "to", "the key k00001 is in images/000000 and in images/000001")


@pytest.mark.parametrize("column", [IMAGES, "sketch"])
@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda data: b"", "must have [0-9]+ bytes, has 0"),
        (lambda data: data[: scan(memoryview(data))[2].start] + END, "must have [0-9]+ bytes, has [0-9]+"),
        (lambda data: data.replace(b"k00005.", b"k00050."), "its keys are not those of its receipt"),
    ],
)
def test_a_damaged_shard_is_named_and_no_sample_goes_missing(
    tmp_path: Path, column: str, damage: Callable[[bytes], bytes], match: str
) -> None:
    """A tar without bytes, one cut at a sample's end and closed, and one whose keys are others."""
    dataset = toy_dataset(tmp_path / "root", 8, 4, color=False)
    path = tmp_path / "root" / column / "000001.tar"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedShard, match=rf"{column}/000001\.tar: {match}"):
        publish_here(dataset, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_column_that_lacks_a_shard(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path / "root")
    (tmp_path / "root/color/000001.json").unlink()
    refused(dataset, tmp_path / "to", "color lacks 1 of 3 shards, the first 000001")
    refused(dataset, tmp_path / "to", "has no column 'depth'; it has images, color, sketch", columns=("depth",))


def test_two_columns_with_one_member(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4, ("sketch",))
    root = tmp_path / "root"
    (root / "soft").mkdir()
    for name in ("000000.tar", "column.json"):
        (root / "soft" / name).write_bytes((root / "sketch" / name).read_bytes())
    receipt = Receipt.decode((root / "sketch/000000.json").read_bytes(), "")
    (root / "soft/000000.json").write_bytes(dataclasses.replace(receipt, column="soft").encode())
    refused(dataset, tmp_path / "to", "sketch and soft both hold sketch.png; publish one of them with --columns")
    publish_here(dataset, tmp_path / "to", columns=("soft",))
    assert len(keys_of(tmp_path / "to")) == 4


def test_nothing_left_to_publish(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4)
    refused(dataset, tmp_path / "to", r"no sample is left to publish \(licence unknown 4\)", licenses=("1",))


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4)
    publish_here(dataset, tmp_path / "to")
    before = contents(tmp_path / "to")
    with pytest.raises(
        RequestError,
        match="was published with shard_size 10, this asks for 2; ask for the same, or use another --to",
    ):
        publish_here(dataset, tmp_path / "to", shard_size=2)
    other = make_images(tmp_path / "other", Pictures(3), 4)
    with pytest.raises(RequestError, match="was published with columns"):
        publish_here(other, tmp_path / "to")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(RequestError, match="must be empty or hold this publication; it holds letter"):
        publish_here(dataset, tmp_path / "mine")
    assert contents(tmp_path / "to") == before
    assert list(contents(tmp_path / "mine")) == ["letter.txt"]


def test_a_claim_that_is_no_claim(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4)
    store = open_store(str(tmp_path / "to"))
    store.create_bytes("publish.json", b"[")
    with pytest.raises(IncompleteError, match=r"publish\.json: must have its format"):
        publish_here(dataset, tmp_path / "to")
    store.discard("publish.json")
    store.create_bytes("publish.json", to_json({"format": 2}))
    with pytest.raises(RequestError, match="was published with"):
        publish_here(dataset, tmp_path / "to")
    assert json.loads((tmp_path / "to/publish.json").read_text()) == {"format": 2}


def test_a_size_that_is_not_the_pictures_is_refused(tmp_path: Path) -> None:
    """Maps are enlarged to the stated size, which may be any number."""
    dataset = toy_dataset(tmp_path / "root", 4, 4)
    change = [with_known(sample, width=30_000, height=30_000) for sample in dataset.load(IMAGES, 0)[:1]]
    dataset = rewrite_images(dataset, lambda samples: [*change, *samples[1:]])
    line = r"k00000: its json states a size of \(30000, 30000\), its picture has \(64, 64\)"
    refused(dataset, tmp_path / "to", line, columns=("images",))


def test_a_jpg_that_is_another_picture_is_refused(tmp_path: Path) -> None:
    def change(samples: list[Sample]) -> list[Sample]:
        bomb = dataclasses.replace(samples[1], members={**samples[1].members, "jpg": flat_png(6000, 6000)})
        return [samples[0], bomb]

    dataset = rewrite_images(make_images(tmp_path / "root", Pictures(2), 2), change)
    refused(dataset, tmp_path / "to", "k00001: its picture must be a JPEG of at most 33554432 pixels")
