"""A store whose folders are divided is used like one whose folders are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.spread_store import SpreadStore, spread_path
from t2i_shards.pipeline.shards.store import Store


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("images/002500.tar", "images/002/002500.tar"),
        ("images/000999.rows.parquet", "images/000/000999.rows.parquet"),
        ("plan/12345678.parquet", "plan/12345/12345678.parquet"),
        ("sketch/column.json", "sketch/column.json"),
        ("dataset.json", "dataset.json"),
        ("images/002/002500.tar", "images/002/002500.tar"),
    ],
)
def test_where_a_file_is_kept(path: str, place: str) -> None:
    assert spread_path(path, 1000) == place


def test_it_is_used_like_one_that_is_not_divided(tmp_path: Path) -> None:
    flat, spread = FolderStore(tmp_path / "flat"), SpreadStore(FolderStore(tmp_path / "spread"), 10)
    source = tmp_path / "source"
    source.write_bytes(b"tar")

    def use(store: Store) -> list[object]:
        for number in (0, 9, 10, 123456, 1234567):
            assert store.create(f"images/{number:06d}.tar", source)
            assert not store.create_bytes(f"images/{number:06d}.tar", b"other")
            assert store.create_bytes(f"images/{number:06d}.json", b"{}")
        store.create_bytes("images/column.json", b"[]")
        store.create_bytes("dataset.json", b"{}")
        store.discard("images/000009.json")
        with store.open("images/123456.tar") as file:
            read = file.read()
        loaded = [bytes(store.load(f"images/{name}")) for name in store.names("images")]
        return [read, loaded, store.names("images"), store.sizes("images"), store.names(""), store.names("none")]

    assert use(flat) == use(spread)
    assert not list((tmp_path / "spread/images").glob("[0-9]*.*"))
    with pytest.raises(FileNotFoundError):
        spread.load("images/000009.json")
