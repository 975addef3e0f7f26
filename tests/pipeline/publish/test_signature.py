"""The signature: what is damaged is made again, and of two concurrent publishers neither signs the other's
files."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.publish.signature import read_sums
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.store import open_store
from tests.pipeline.publish.toys import contents, keys_of, publish_here, toy_dataset

ALL = [f"k{i:05d}" for i in range(20)]
GONE = ALL[3]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return toy_dataset(tmp_path / "root", 20, 10, color=False)


def is_signed(to: Path) -> bool:
    """Whether there is a signature; every file must be as it says."""
    files = contents(to)
    if "SHA256SUMS" not in files:
        return False
    assert read_sums(files["SHA256SUMS"]) == {
        name: sha256(data).hexdigest() for name, data in files.items() if name != "SHA256SUMS"
    }
    return True


def before_creation(monkeypatch: pytest.MonkeyPatch, path: str, act: Callable[[], None]) -> list[str]:
    """Let `act` happen once, right before the file is made. Gives the list of all files that are made."""
    real, waiting, made = FolderStore.create, [act], list[str]()

    def create(store: FolderStore, name: str, source: Path) -> bool:
        if name == path and waiting:
            waiting.pop()()
        made.append(name)
        return real(store, name, source)

    monkeypatch.setattr(FolderStore, "create", create)
    return made


STEPS = ["data/train-000000.tar", "receipts/train-000000.json", "README.md", "manifest.jsonl", "SHA256SUMS"]


@pytest.mark.parametrize("at", STEPS)
def test_a_purge_that_overtakes_a_slow_publisher(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    to = tmp_path / "to"

    def purge() -> None:
        remove(dataset, "keys", [GONE])
        publish_here(dataset, to, purge=True)
        assert is_signed(to)

    before_creation(monkeypatch, at, purge)
    with pytest.raises(IncompleteError, match="another publisher is at work there; run again"):
        publish_here(dataset, to)
    assert is_signed(to)
    assert keys_of(to) == [key for key in ALL if key != GONE]
    after = contents(to)
    assert publish_here(dataset, to).made == 0
    assert contents(to) == after


@pytest.mark.parametrize("at", STEPS)
def test_a_purge_that_dies_while_another_publishes(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """It dies before a file of the old revision is gone; the slow one must not sign what was to go."""
    to, real = tmp_path / "to", FolderStore.discard

    def die(store: FolderStore, path: str) -> None:
        if path == "receipts/train-000000.json":
            raise KeyboardInterrupt
        real(store, path)

    def purge() -> None:
        remove(dataset, "keys", [GONE])
        with monkeypatch.context() as patch:
            patch.setattr(FolderStore, "discard", die)
            with pytest.raises(KeyboardInterrupt):
                publish_here(dataset, to, purge=True)

    made = before_creation(monkeypatch, at, purge)
    with pytest.raises(IncompleteError, match="another publisher is at work there; run again"):
        publish_here(dataset, to)
    assert ("SHA256SUMS" in made) == (at in STEPS[3:]), "signed for a moment, where it could have been known"
    with pytest.raises(RequestError, match="is not a complete publication"):
        open_published(str(to))
    publish_here(dataset, to)
    assert is_signed(to)
    assert keys_of(to) == [key for key in ALL if key != GONE]


def test_a_signature_of_other_shards_is_replaced(dataset: Dataset, tmp_path: Path) -> None:
    """As two publishers of an earlier version left it: the purged shards, with the sums of those before."""
    to = tmp_path / "to"
    publish_here(dataset, to)
    old = contents(to)
    remove(dataset, "keys", [GONE])
    publish_here(dataset, to, purge=True)
    purged = contents(to)
    for name in ("README.md", "manifest.jsonl", "SHA256SUMS"):
        (to / name).write_bytes(old[name])
    assert publish_here(dataset, to).finished is not None
    assert contents(to) == purged


def test_a_shard_that_a_slow_publisher_brought_back_is_purged_again(dataset: Dataset, tmp_path: Path) -> None:
    to = tmp_path / "to"
    publish_here(dataset, to)
    old = contents(to)
    remove(dataset, "keys", [GONE])
    publish_here(dataset, to, purge=True)
    purged = contents(to)
    for name in [name for name in old if "train-000000" in name]:
        (to / name).write_bytes(old[name])
    assert publish_here(dataset, to).made == 1
    assert contents(to) == purged


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


PACKED = {
    "data/train-000001.tar": 1,
    "dali/train-000001.idx": 1,
    "data/train-000001.tar.idx": 1,
    "receipts/train-000001.json": 1,
    ".nv-meta/.info.json": 0,
    "wids-train.json": 0,
    "manifest.jsonl": 0,
}
COLUMNS = {
    "images/000001.tar": 1,
    "sketch/000001.tar": 1,
    "sketch/000001.idx": 1,
    "images/000001.rows.parquet": 1,
    "plan/000001.parquet": 1,
    "sketch/column.json": 0,
    "dataset.json": 0,
    "wids-images.json": 0,
}


@pytest.mark.parametrize(
    ("layout", "files"), [("packed", PACKED), ("columns", COLUMNS)], ids=["packed", "columns"]
)
def test_what_is_gone_or_cut_is_made_again(
    dataset: Dataset, tmp_path: Path, layout: str, files: dict[str, int]
) -> None:
    to = tmp_path / "to"
    publish_here(dataset, to, layout=layout)
    before = contents(to)
    for name, made in files.items():
        (to / name).unlink()
        published = publish_here(dataset, to, layout=layout)
        assert (published.made, published.finished is None) == (made, False), name
        assert contents(to) == before, name
    for name in [name for name in files if name.endswith(".tar")]:
        cut(to / name)
        assert publish_here(dataset, to, layout=layout).made == 1
        assert contents(to) == before
    assert publish_here(dataset, to, layout=layout).finished is None


def test_what_is_gone_from_s3_is_made_again(dataset: Dataset, tmp_path: Path, bucket: str) -> None:
    to, store = f"{bucket}/place", open_store(f"{bucket}/place")
    publish_here(dataset, to)
    names = read_sums(store.load("SHA256SUMS"))
    before = {name: bytes(store.load(name)) for name in names}
    for name in ("data/train-000000.tar", ".nv-meta/split.yaml"):
        store.discard(name)
    store.discard("data/train-000001.tar")
    store.create_bytes("data/train-000001.tar", before["data/train-000001.tar"][:-1])
    assert publish_here(dataset, to).made == 2
    assert {name: bytes(store.load(name)) for name in names} == before
    assert publish_here(dataset, to).finished is None
