from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from t2i_shards.pipeline.shards.dry_store import DryStore
from t2i_shards.pipeline.shards.folder_store import FolderStore


@pytest.fixture
def real(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "real")
    for path in ("dataset.json", "images/000000.tar", "images/000001.tar"):
        store.create_bytes(path, path.encode())
    return store


def test_it_looks_as_if_it_were_written_to(real: FolderStore, tmp_path: Path) -> None:
    dry = DryStore(real, tmp_path / "new")
    assert dry.create_bytes("dataset.json", b"") is False
    assert dry.create_bytes("images/000002.tar", b"new") is True
    assert dry.create_bytes("images/000002.tar", b"again") is False
    assert dry.create("a/b", Path(__file__)) is True
    dry.discard_all(["images/000000.tar", "nothing"])
    dry.sweep()
    assert dry.names("") == ["a", "dataset.json", "images"]
    assert dry.names("images") == dry.names_from("images", ["0000"]) == ["000001.tar", "000002.tar"]
    assert dry.sizes("images") == {"000001.tar": 17, "000002.tar": 3}
    assert bytes(dry.load("images/000002.tar")) == b"new"
    assert bytes(dry.load("images/000001.tar")) == b"images/000001.tar"
    assert dry.open("a/b").read() == Path(__file__).read_bytes()
    for gone in ("images/000000.tar", "nothing"):
        with pytest.raises(FileNotFoundError):
            dry.load(gone)
    assert dry.create_bytes("images/000000.tar", b"anew") is True
    assert bytes(dry.load("images/000000.tar")) == b"anew"
    dry.replace_bytes("dataset.json", b"replaced")
    dry.replace("images/000001.tar", Path(__file__))
    assert (bytes(dry.load("dataset.json")), dry.names("images")) == (b"replaced", dry.names_from("images", ["0"]))
    assert bytes(dry.load("images/000001.tar")) == Path(__file__).read_bytes()
    sent = pickle.loads(pickle.dumps(dry))  # noqa: S301
    assert sent.names("images") == dry.names("images")


def test_nothing_of_the_real_one_is_changed(real: FolderStore, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "real").rglob("*")}
    dry = DryStore(real, tmp_path / "new")
    dry.create_bytes("images/000002.tar", b"new")
    dry.discard("images/000000.tar")
    dry.replace_bytes("dataset.json", b"new")
    with dry.scratch() as scratch:
        (scratch / "x").touch()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "real").rglob("*")} == before
