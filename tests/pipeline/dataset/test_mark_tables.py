"""Tables of duplicates: which there are, of which states they are, what they change, and which may go."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.mark_tables import (
    DUPLICATES,
    Kind,
    count_changes,
    duplicates_path,
    find_states,
    find_unneeded,
    read_kinds,
    read_marks,
)
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.shards.table import encode_table
from tests.faults.toys import Pictures, fill, make_images

A, B, C = (f"duplicates/{letter * 64}.parquet" for letter in "abc")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def marks(*rows: tuple[int, str, str], **said: str) -> pa.Table:
    """(shard, key, of) of near duplicates, and what the table says of how it was made."""
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table([*columns, ["near"] * len(rows), [3] * len(rows)], DUPLICATES)
    return table.replace_schema_metadata(said)


def test_a_table_says_how_it_was_made_and_one_of_an_earlier_version_does_not(store: Store) -> None:
    store.create_bytes(A, encode_table(marks((0, "k1", "k0"), shards="12", near="6", rules="256 bits")))
    store.create_bytes(B, encode_table(marks().replace_schema_metadata(None)))
    assert read_kinds(store) == {A: Kind(12, "6", "256 bits"), B: Kind(0, "", "")}
    assert [tuple(row.values()) for row in read_marks(store, A).to_pylist()] == [(0, "k1", "k0", "near", 3)]
    assert read_marks(store, C) is None


@pytest.mark.parametrize("data", [b"", b"PAR1", encode_table(marks(shards="many"))])
def test_a_table_that_is_none_is_told_and_the_others_are_read(
    data: bytes, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.create_bytes(A, data)
    store.create_bytes(B, encode_table(marks(shards="2")))
    store.create_bytes("duplicates/notes.txt", b"of somebody")
    with caplog.at_level(logging.WARNING):
        assert read_kinds(store) == {B: Kind(2, "", "")}
    assert [record.getMessage().startswith(f"its marks are made again: {A}: ") for record in caplog.records] == [
        True
    ]


def test_marks_with_a_null_or_of_another_type_are_damaged(store: Store) -> None:
    store.create_bytes(A, encode_table(marks((0, "k1", "k0")).set_column(2, "of", pa.array([None], pa.string()))))
    store.create_bytes(B, encode_table(pa.table({"shard": ["0"]})))
    for path in (A, B):
        with pytest.raises(DamagedShard, match=path):
            read_marks(store, path)


def test_each_state_in_which_a_dataset_was_whole_has_a_path(tmp_path: Path) -> None:
    source = Pictures(7)
    make_images(tmp_path / "root", source, 3)
    dataset = Dataset.open(str(tmp_path / "root"))
    first = dataset.receipts(IMAGES)
    assert find_states(dataset, first) == {duplicates_path(first): 3}
    assert plan_retry(dataset, lambda _: [dataset.plan(0)[1]])
    fill(dataset, source)
    images = dataset.receipts(IMAGES)
    assert find_states(dataset, images) == {duplicates_path(first): 3, duplicates_path(images): 4}


def test_changes_are_counted_by_picture_within_the_largest_state_that_has_a_table(store: Store) -> None:
    """Of five marks one stays, one is gone, one is new, one has another original, and one is of a later shard."""
    store.create_bytes(A, encode_table(marks((0, "stays", "x"), (1, "gone", "x"), (1, "other", "x"))))
    store.create_bytes(B, encode_table(marks((0, "stays", "x"))))
    now = marks((0, "stays", "x"), (0, "new", "x"), (1, "other", "y"), (2, "later", "x"))
    states = {A: 2, B: 1, C: 3}
    assert count_changes(store, [A, B], states, now) == 3
    assert count_changes(store, [B], states, now) == 1
    assert count_changes(store, [], states, now) is None
    assert count_changes(store, [C], states, now) is None
    store.replace_bytes(A, b"damaged")
    assert count_changes(store, [A, B], states, now) is None


def test_a_table_may_go_when_it_is_of_no_state_and_says_so() -> None:
    kinds = {A: Kind(2, "4", "r"), B: Kind(2, "4", "r"), C: Kind(0, "", "")}
    assert find_unneeded(kinds, {A: 2}) == [B], "C is of an earlier version, and does not say of how many shards"
    assert find_unneeded({**kinds, B: Kind(3, "4", "r")}, {A: 2}) == [], "B is of a later state"
