"""Reading back: with the real readers, and what happens when one sees something other than what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from t2i_shards.jobs.readers import READERS, choose_readers
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.publish import open_published, read_manifest
from t2i_shards.pipeline.publish.readers import LOCAL, ReadSample, read_back, read_webdataset
from t2i_shards.pipeline.shards.store import open_store
from tests.pipeline.publish.toys import contents, keys_of, publish_here, toy_dataset

SPLITS = ("train=0.7", "test=0.3")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("root") / "dataset")


@pytest.fixture(scope="module")
def to(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "to"
    publish_here(dataset, folder, splits=SPLITS)
    return folder


@pytest.mark.parametrize("name", ["webdataset", "datasets"])
def test_a_reader_sees_every_sample(to: Path, name: str) -> None:
    store = open_store(str(to))
    assert read_back(store, read_manifest(store), choose_readers([name])) == []
    paths = {split: sorted((to / "data").glob(f"{split}-*.tar")) for split in ("train", "test")}
    seen = list(READERS[name](paths, to))
    for split in paths:
        assert [sample.key for of, sample in seen if of == split] == keys_of(to, split)


@pytest.mark.soak
def test_ray_data_sees_every_sample(to: Path, ray_address: str) -> None:
    store = open_store(str(to))
    assert read_back(store, read_manifest(store), choose_readers(["ray"])) == []


def test_pictures_are_pictures_to_hugging_face(to: Path) -> None:
    import datasets

    for loaded in (
        datasets.load_dataset(str(to), split="train", streaming=True),
        datasets.load_dataset(
            "webdataset", data_files=str(to / "data/train-*.tar"), split="train", streaming=True
        ),
    ):
        pictures = {name for name, kind in loaded.features.items() if isinstance(kind, datasets.Image)}
        assert pictures == {"jpg", "sketch.png", "color.png"}
        first = next(iter(loaded))
        assert first["__key__"] == keys_of(to)[0]
        assert first["json"]["captions"] == [first["txt"]]
        assert first["color.png"].size == first["jpg"].size == (first["json"]["width"], first["json"]["height"])


def test_our_stream_reads_it_verified(to: Path, tmp_path: Path) -> None:
    stream = open_published(str(to), "train", seed=3)
    epoch = [sample.key for sample in stream.samples(0)]
    assert sorted(epoch) == keys_of(to)
    assert epoch != keys_of(to)
    with pytest.raises(RequestError, match="has no split 'dev'; it has test, train"):
        open_published(str(to), "dev")


def test_a_damaged_shard_is_not_read(dataset: Dataset, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "to")
    path = tmp_path / "to/data/train-000001.tar"
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(DamagedShard, match=r"data/train-000001.tar: must have sha256"):
        list(open_published(str(tmp_path / "to")).samples(0))


def blind(paths: Mapping[str, Sequence[Path]], folder: Path | None) -> Iterator[tuple[str, ReadSample]]:
    """Does not see the last sample of all."""
    seen = list(read_webdataset(paths, folder))
    yield from seen[:-1]


def colourless(paths: Mapping[str, Sequence[Path]], folder: Path | None) -> Iterator[tuple[str, ReadSample]]:
    for split, sample in read_webdataset(paths, folder):
        yield split, ReadSample(sample.key, sample.members - {"color.png"}, sample.decode)


def clumsy(paths: Mapping[str, Sequence[Path]], folder: Path | None) -> Iterator[tuple[str, ReadSample]]:
    """Cannot decode the last sample of all."""
    *seen, (split, last) = read_webdataset(paths, folder)
    yield from seen

    def fail() -> None:
        raise ValueError("what is this?")

    yield split, ReadSample(last.key, last.members, fail)


@pytest.mark.parametrize(
    ("reader", "match"),
    [
        (blind, "reading back with it: train has 30 samples, it counts 29"),
        (colourless, r"reading back with it: sees k00000 with other members than it has \(color.png\)"),
        (clumsy, "reading back with it: ValueError: what is this?"),
    ],
)
def test_what_a_reader_does_not_see_is_not_published(
    dataset: Dataset, tmp_path: Path, reader: object, match: str
) -> None:
    with pytest.raises(IncompleteError, match=match):
        publish_here(dataset, tmp_path / "to", readers={"it": reader})  # type: ignore[dict-item]
    assert not {"manifest.jsonl", "SHA256SUMS"} & contents(tmp_path / "to").keys()
    with pytest.raises(RequestError, match="is not a complete publication: SHA256SUMS"):
        open_published(str(tmp_path / "to"))
    publish_here(dataset, tmp_path / "to", readers=LOCAL)
    assert len(open_published(str(tmp_path / "to"))) == 30


def test_a_reader_that_is_not_installed_is_named(dataset: Dataset, tmp_path: Path) -> None:
    def absent(paths: Mapping[str, Sequence[Path]], folder: Path | None) -> Iterator[tuple[str, ReadSample]]:
        import no_such_library  # type: ignore[import-not-found]

        yield no_such_library

    published = publish_here(dataset, tmp_path / "to", readers={"webdataset": read_webdataset, "absent": absent})
    assert published.finished is not None
    assert published.finished.unchecked == ("absent",)
    with pytest.raises(RequestError, match="--readers must be of webdataset, datasets, ray, not 'absent'"):
        choose_readers(["absent"])


def test_shards_of_a_store_far_away_are_read_here(dataset: Dataset, bucket: str) -> None:
    to = f"{bucket}/set"
    publish_here(
        dataset, to, splits=SPLITS, shard_size=2, readers={"webdataset": read_webdataset}
    )  # more shards than come at once
    assert len(read_manifest(open_store(to))) > 8
    store = open_store(to)
    with pytest.raises(IncompleteError, match="reading back with it"):
        read_back(store, read_manifest(store), {"it": blind})
