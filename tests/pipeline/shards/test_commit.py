"""The commit protocol: the receipt last, created once; a tar without one is taken up, a receipt adopted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.commit import commit_samples, load_receipt, write_shard
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample, digest_keys
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.shards.tar import TarWriter

SAMPLES = [Sample(f"k{i}", {"jpg": bytes([i]) * 700, "txt": b"words"}) for i in range(4)]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(request.getfixturevalue("bucket") if request.param == "s3" else str(tmp_path / "root"))


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "root")


def commit(store: Store, samples: list[Sample] = SAMPLES, **fields: Any) -> Receipt:
    given: dict[str, Any] = {"column": "images", "shard": 2, "planned": 4, "recipe": "r"}
    return commit_samples(store, samples, **(given | fields))


def test_what_is_published(store: Store) -> None:
    receipt = commit(store, planned=6, drops={"too small": 2}, extra={"images/000002.rows.parquet": b"rows"})
    assert store.names("images") == ["000002.json", "000002.rows.parquet", "000002.tar"]
    assert load_receipt(store, "images", 2) == receipt
    assert (receipt.samples, receipt.planned, receipt.drops) == (4, 6, {"too small": 2})
    assert receipt.bytes == len(store.load("images/000002.tar"))
    assert receipt.keys == digest_keys(s.key for s in SAMPLES)
    assert load_receipt(store, "images", 3) is None


def test_the_receipt_is_the_last_to_appear(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    create = FolderStore.create

    def note(store: FolderStore, path: str, source: Path) -> bool:
        order.append(path)
        return create(store, path, source)

    monkeypatch.setattr(FolderStore, "create", note)
    commit(folder, extra={"images/000002.rows.parquet": b"rows"})
    assert order == ["images/000002.tar", "images/000002.rows.parquet", "images/000002.json"]


def test_again_changes_nothing(store: Store) -> None:
    first = commit(store, seconds=1.0)
    data = bytes(store.load("images/000002.tar"))
    again = commit(store, SAMPLES[:3], planned=3, seconds=9.0)
    assert again == first
    assert bytes(store.load("images/000002.tar")) == data


def test_a_tar_without_receipt_of_the_same_bytes_is_taken_up(store: Store, tmp_path: Path) -> None:
    write_shard(SAMPLES, tmp_path / "it.tar")
    store.create("images/000002.tar", tmp_path / "it.tar")
    receipt = commit(store, planned=5, drops={"too small": 1})
    assert receipt == commit(open_store(str(tmp_path / "fresh")), planned=5, drops={"too small": 1})
    assert load_receipt(store, "images", 2) == receipt


@pytest.mark.parametrize("what", ["half a tar", "same keys, other bytes", "other keys"])
def test_a_tar_that_cannot_be_taken_up_is_named(what: str, folder: FolderStore, tmp_path: Path) -> None:
    """No receipt is made for bytes that are not ours: they may be damaged, or made from other pictures."""
    altered = [replace(sample, members={"jpg": b"other"}) for sample in SAMPLES]
    write_shard(SAMPLES[:3] if what == "other keys" else altered, tmp_path / "it.tar")
    if what == "half a tar":
        (tmp_path / "it.tar").write_bytes(b"half a tar" * 100)
    folder.create("images/000002.tar", tmp_path / "it.tar")
    with pytest.raises(DamagedShard, match=r"^images/000002\.tar has no receipt and .*; delete it$"):
        commit(folder)
    assert folder.names("images") == ["000002.tar"]


def test_the_loser_of_a_race_adopts_the_winners_receipt(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one publishes its tar and receipt after we looked for the tar and before we look for the
    receipt."""
    create = FolderStore.create
    winner: list[Receipt] = []

    def lose(store: FolderStore, path: str, source: Path) -> bool:
        if path.endswith(".json") and not winner:
            winner.append(Receipt.decode(source.read_bytes(), path))
            theirs = store.root + "/theirs.json"
            Path(theirs).write_bytes(replace(winner[0], seconds=77.0).encode())
            assert create(store, path, Path(theirs))
        return create(store, path, source)

    monkeypatch.setattr(FolderStore, "create", lose)
    assert commit(folder, seconds=1.0).seconds == 77.0
    assert load_receipt(folder, "images", 2) == replace(winner[0], seconds=77.0)


def test_a_write_that_went_wrong_is_noticed(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TarWriter._write

    def lossy(writer: TarWriter, *parts: bytes | memoryview) -> None:
        for data in parts:
            real(writer, data)
            if len(data) == 700:
                writer._file.seek(-1, 1)
                writer._file.write(b"!")

    monkeypatch.setattr(TarWriter, "_write", lossy)
    with pytest.raises(OSError, match="reads back with other bytes"):
        commit(folder)
    assert folder.names("images") == []


def test_a_stage_that_raises_leaves_nothing(folder: FolderStore) -> None:
    def half() -> Any:
        yield SAMPLES[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        commit(folder, half())
    assert folder.names("images") == []
    assert not list(Path(folder.root, ".scratch").iterdir())


def test_a_receipt_of_another_place_is_refused(folder: FolderStore) -> None:
    """A copied receipt would hand out one shard's samples twice and another's never."""
    receipt = commit(folder)
    folder.create_bytes("images/000003.json", receipt.encode())
    with pytest.raises(DamagedShard, match=r"^images/000003\.json: is the receipt of images/2$"):
        load_receipt(folder, "images", 3)
    folder.create_bytes("sketch/000002.json", receipt.encode())
    with pytest.raises(DamagedShard, match=r"^sketch/000002\.json: is the receipt of images/2$"):
        load_receipt(folder, "sketch", 2)
