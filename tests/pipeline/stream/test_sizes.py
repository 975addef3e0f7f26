"""Sizes come from a file for each thousand of shards where there is one, and are what the tables of rows say."""

from __future__ import annotations

import pickle
from pathlib import Path
from unittest.mock import Mock

import pytest

from t2i_shards.pipeline.dataset import name_index
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.sizes import SIZES
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stages.index_names import plan_index, verify_index
from t2i_shards.pipeline.stream import open_stream, shapes
from tests.faults.toys import Pictures, make_images
from tests.pipeline.dataset.rewrite import rewrite_rows


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Seven shards of three in three pieces, one sample of which was removed."""
    for module in ("dataset.name_index", "stages.index_names"):
        monkeypatch.setattr(f"t2i_shards.pipeline.{module}.LEAST", 3)
    monkeypatch.setattr(name_index, "THOUSAND", 3)
    dataset = make_images(tmp_path / "root", Pictures(21), 3)
    remove(dataset, "keys", ["k00004"])
    return dataset


def make_files(dataset: Dataset) -> int:
    """How many pieces had none, or a stale one."""
    stage = plan_index(dataset, dataset.receipts(IMAGES))
    for number in range(len(stage.pieces)):
        stage(number)
    return len(stage.pieces)


def open_digest(dataset: Dataset) -> str:
    """The digest of content and order of a stream in batches of one size."""
    return open_stream(dataset.store.root, [], buckets=2).digest


def test_no_table_of_rows_is_read(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_digest(dataset)
    assert make_files(dataset) == 3
    assert make_files(dataset) == 0
    with monkeypatch.context() as patch:
        read = "t2i_shards.pipeline.dataset.sizes.read_outcomes"
        patch.setattr(read, lambda dataset, columns, shards: pytest.fail("tables are read") if shards else ())
        assert open_digest(dataset) == before
    for path in SIZES.list(dataset.store).values():
        dataset.store.discard(path)
    assert open_digest(dataset) == before


@pytest.mark.parametrize("harm", ["cut", "flipped", "swapped"])
def test_a_damaged_file_is_named_and_the_tables_are_read(
    harm: str, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_digest(dataset)
    make_files(dataset)
    one, two, _ = (Path(dataset.store.root, path) for path in sorted(SIZES.list(dataset.store).values()))
    data = bytearray(two.read_bytes())
    data[40] ^= 1
    two.unlink()
    two.write_bytes({"cut": data[:-9], "flipped": data, "swapped": one.read_bytes()}[harm])
    assert open_digest(dataset) == before
    assert f"the tables of its shards are read instead: images/rollups/{two.name}" in caplog.text
    (line,) = verify_index(dataset)
    assert line.startswith(f"images/rollups/{two.name}: ")


def test_those_of_a_shard_that_was_made_again_are_replaced(dataset: Dataset) -> None:
    make_files(dataset)
    rewrite_rows(dataset, 4, lambda rows: rows[0].update(width=999, height=512), sha256="1" * 64)
    after = open_digest(dataset)
    assert make_files(dataset) == 1
    assert len(SIZES.list(dataset.store)) == 3
    assert open_digest(dataset) == after


def test_one_process_of_a_machine_reads_them(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others map its file, and loaders are given its path."""
    before = open_stream(dataset.store.root, [], buckets=2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(shapes, "FEW", 3)
    monkeypatch.setattr(shapes, "TOGETHER", 4)
    find = Mock(side_effect=shapes._find_shapes)
    monkeypatch.setattr(shapes, "_find_shapes", find)
    streams = [open_stream(dataset.store.root, [], buckets=2) for _ in "ab"]
    assert find.call_count == 1
    assert {stream.digest for stream in streams} == {before.digest}
    numbers = streams[1]._order._shapes.numbers
    assert len(pickle.dumps(numbers)) < 500
    again = pickle.loads(pickle.dumps(numbers))  # noqa: S301  (as a loader gets it)
    assert {shard: again[shard].tolist() for shard in again} == {
        shard: of.tolist() for shard, of in before._order._shapes.numbers.items()
    }
    remove(dataset, "keys", ["k00009"])  # another order
    assert open_digest(dataset) != before.digest
    assert find.call_count == 2


@pytest.mark.parametrize("width", [None, 0, 1])
def test_a_size_that_was_not_recorded_or_cannot_be_is_refused(width: int | None, dataset: Dataset) -> None:
    rewrite_rows(dataset, 4, lambda rows: rows[1].update(width=width))
    make_files(dataset)
    with pytest.raises(RequestError, match="000004 has samples whose size was not recorded"):
        open_digest(dataset)
