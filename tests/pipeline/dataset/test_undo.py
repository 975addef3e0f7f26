"""A removal is undone by one more table, for streams that begin later; what has acted on it is not changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import (
    STONE,
    read_removed,
    read_tombstones,
    remove,
    settle,
    stone_path,
)
from t2i_shards.pipeline.dataset.undo import undo, undo_newest
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.table import decode_table
from t2i_shards.pipeline.stream import Extent, open_stream
from tests.faults.toys import Pictures, make_images


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(10), 4)


def keys(dataset: Dataset, extent: Extent | None = None) -> list[str]:
    return [sample.key for sample in open_stream(dataset.store.root, (), extent=extent).samples(0)]


def test_what_was_taken_back_is_streamed_again_and_can_be_removed_again(dataset: Dataset) -> None:
    before = keys(dataset)
    remove(dataset, "keys", ["k00001", "k00009"])
    assert undo(dataset, "keys", ["k00009", "k00002", "k99999"]).undone == ("k00009",)
    assert set(before) - set(keys(dataset)) == {"k00001"}
    assert undo(dataset, "keys", ["k00001"]).undone == ("k00001",)
    assert keys(dataset) == before
    assert remove(dataset, "keys", ["k00001"]).removed == ("k00001",)
    assert read_tombstones(dataset) == {0: {"k00001"}}


def test_what_is_not_removed_or_unknown_is_told(dataset: Dataset) -> None:
    remove(dataset, "keys", ["k00001"])
    found = undo(dataset, "keys", ["k00002", "k99999"])
    assert (found.undone, found.others, found.unknown) == ((), ("k00002",), ("k99999",))
    assert dataset.store.names("tombstones") == ["000001.parquet"]


def test_without_a_list_the_newest_removal_that_still_counts(dataset: Dataset) -> None:
    remove(dataset, "keys", ["k00001"])
    remove(dataset, "keys", ["k00002", "k00003"])
    assert undo_newest(dataset, dry_run=True).undone == ("k00002", "k00003")
    assert undo_newest(dataset).undone == ("k00002", "k00003")
    assert undo_newest(dataset).undone == ("k00001",)
    with pytest.raises(RequestError, match="nothing is removed"):
        undo_newest(dataset)


def test_earlier_extents_keep_their_order(dataset: Dataset) -> None:
    """A run that was begun without the sample continues without it; one begun with it has it again."""
    whole = keys(dataset)
    remove(dataset, "keys", ["k00001"])
    without = keys(dataset)
    undo_newest(dataset)
    assert keys(dataset, Extent(3, 0)) == keys(dataset) == whole
    assert keys(dataset, Extent(3, 1)) == without


def test_what_someone_acted_on_is_not_taken_back(dataset: Dataset) -> None:
    remove(dataset, "keys", ["k00001"])
    settle(dataset.store, 1)
    remove(dataset, "keys", ["k00002"])
    with pytest.raises(RequestError, match=r": 1 of these samples .the first k00001.*another dataset"):
        undo(dataset, "keys", ["k00001", "k00002"])
    assert read_removed(dataset.store).keys() == {"k00001", "k00002"}
    assert undo_newest(dataset).undone == ("k00002",)
    settle(dataset.store, 1)  # changes nothing
    assert dataset.store.names("tombstones")[:2] == ["000001.parquet", "000001.settled"]


def test_earlier_versions_refuse_a_table_that_takes_back(dataset: Dataset) -> None:
    remove(dataset, "keys", ["k00001"])
    undo_newest(dataset)
    path = stone_path(2)
    with pytest.raises(DamagedShard, match="must have a column shard of type int32, and has none"):
        decode_table(dataset.store.load(path), path, STONE, whole=STONE.names)


@pytest.mark.parametrize("number", [1, 2])
def test_a_table_that_is_gone_is_no_removal_undone(dataset: Dataset, number: int) -> None:
    remove(dataset, "keys", ["k00001"])
    undo_newest(dataset)
    remove(dataset, "keys", ["k00002"])
    dataset.store.discard(stone_path(number))
    with pytest.raises(DamagedShard, match=f"{stone_path(number)}: gone"):
        read_removed(dataset.store)
