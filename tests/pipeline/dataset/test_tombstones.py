"""Tombstones: found by key, address or digest; they add up, and name only samples that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.duplicates import mark_duplicates
from t2i_shards.pipeline.dataset.outcomes import read_outcomes
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.dataset.tombstones import Tombstone, add_tombstones, read_removed, read_tombstones, remove
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stream import open_stream
from tests.faults.toys import Pictures, fill, make_images
from tests.pipeline.web import Web, put_failure, put_picture

NAMES = ("a-0", "a-1", "b-0", "b-1", "b-2")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_images(tmp_path / "root", Pictures(10), 4)


@pytest.fixture
def web(tmp_path: Path) -> Dataset:
    """Five addresses in shards of two; b-1 timed out at first and was obtained in a supplementary shard."""
    folder = tmp_path / "web"
    for number, name in enumerate(NAMES):
        put_picture(folder, name, number)
    put_failure(folder, "b-1", "timed out")
    source = Web(str(folder), NAMES)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 2)
    fill(dataset, source)
    put_picture(folder, "b-1", 3)
    assert plan_retry(dataset)
    fill(dataset, source)
    return Dataset.open(str(tmp_path / "root"))


def test_by_key(dataset: Dataset) -> None:
    found = remove(dataset, "keys", ["k00009", " k00001 ", "", "k99999"])
    assert found.removed == ("k00001", "k00009")
    assert found.unknown == ("k99999",)
    assert read_tombstones(dataset) == {0: {"k00001"}, 2: {"k00009"}}


def test_tombstones_add_up_and_stay(dataset: Dataset) -> None:
    remove(dataset, "keys", ["k00001"])
    again = remove(dataset, "keys", ["k00001", "k00002"])
    assert (again.removed, again.before) == (("k00002",), ("k00001",))
    assert dataset.store.names("tombstones") == ["000001.parquet", "000002.parquet"]
    assert remove(dataset, "keys", ["k00001", "k00002"]).removed == ()
    assert len(dataset.store.names("tombstones")) == 2
    assert read_tombstones(dataset, last=1) == {0: {"k00001"}}
    assert read_tombstones(dataset, first=2) == {0: {"k00002"}}
    assert read_tombstones(dataset) == {0: {"k00001", "k00002"}}


def test_tombstones_add_to_what_is_left_out_for_other_reasons(dataset: Dataset) -> None:
    assert add_tombstones(dataset, None) is None
    assert add_tombstones(dataset, {1: {"k00004"}}) == {1: {"k00004"}}
    remove(dataset, "keys", ["k00001", "k00005"])
    assert add_tombstones(dataset, None) == {0: {"k00001"}, 1: {"k00005"}}
    assert add_tombstones(dataset, {1: {"k00004"}}) == {0: {"k00001"}, 1: {"k00004", "k00005"}}


def test_by_address_and_by_digest(web: Dataset) -> None:
    found = remove(web, "urls", ["http://a.example/a-1.png", "http://c.example/"])
    assert (found.removed, found.unknown) == (("000000001",), ("http://c.example/",))
    digests = {
        key: sha256
        for _, table in read_outcomes(web, ("key", "sha256"))
        for key, sha256 in zip(*(table[name].to_pylist() for name in ("key", "sha256")), strict=True)
    }
    found = remove(web, "sha256", [digests["000000002"].upper(), "0" * 64])
    assert (found.removed, found.unknown) == (("000000002",), ("0" * 64,))
    assert read_tombstones(web) == {0: {"000000001"}, 1: {"000000002"}}


def test_a_row_that_succeeded_later_is_found_in_the_shard_of_its_sample(web: Dataset) -> None:
    assert read_tombstones(web) == {}
    assert remove(web, "keys", ["000000003"]).removed == ("000000003",)
    assert read_removed(web.store) == {"000000003": Tombstone(shard=1, table=1)}
    assert read_tombstones(web) == {3: {"000000003"}}


def test_a_dropped_row_has_a_tombstone_but_no_sample_to_leave_out(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4, size=16), 4)
    assert dataset.receipts("images")[0].samples == 0
    assert remove(dataset, "keys", ["k00001"]).removed == ("k00001",)
    assert read_tombstones(dataset) == {}


def test_a_file_that_names_none(dataset: Dataset) -> None:
    with pytest.raises(RequestError, match="--urls must name at least one"):
        remove(dataset, "urls", ["", "  "])


@pytest.mark.parametrize("duplicates", [True, False])
def test_streams_skip_them_at_once(dataset: Dataset, duplicates: bool) -> None:
    mark_duplicates(dataset)
    before = open_stream(dataset.store.root, (), duplicates=duplicates)
    key = sorted(sample.key for sample in before.samples(0))[-1]
    remove(dataset, "keys", [key])
    after = open_stream(dataset.store.root, (), duplicates=duplicates)
    gone = {sample.key for sample in before.samples(0)} - {sample.key for sample in after.samples(0)}
    assert gone == {key}
    assert after.digest != before.digest
