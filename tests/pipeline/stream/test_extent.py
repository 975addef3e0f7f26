"""A stream that continues with an earlier order, while samples are removed and shards are added."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.duplicates import mark_duplicates
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import BrokenStage
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stream import Extent, Stream, measure_extent, mix_streams, open_stream
from tests.faults.toys import Pictures, fill, make_images
from tests.pipeline.stream.toys import name
from tests.pipeline.web import Web, put_failure, put_picture

BEGUN = Extent(11, 1)
FIRST, LATER = ["k00003"], ["k00000", "k00010", "k00041"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """42 pictures of two sizes in 11 shards, less one removed before the run began and three while it ran."""
    dataset = make_images(tmp_path_factory.mktemp("extent") / "root", Pictures(42), 4)
    remove(dataset, "keys", FIRST)
    assert measure_extent(dataset) == BEGUN
    remove(dataset, "keys", LATER)
    return dataset.store.root


def _begun(root: str, buckets: int | None) -> Stream:
    """The stream as it was before the later removal."""
    stream = open_stream(root, (), buckets=buckets, extent=BEGUN)
    stream._shards.removed = {}
    return stream


@pytest.mark.parametrize("buckets", [None, 4])
def test_the_position_of_a_sample_removed_later_goes_to_its_neighbour(root: str, buckets: int | None) -> None:
    before, after = _begun(root, buckets), open_stream(root, (), buckets=buckets, extent=BEGUN)
    positions = range(3 * len(before))
    assert (after.digest, len(after), after.removed) == (before.digest, len(before), 3)
    was, now = (dict(stream.take(positions, name)) for stream in (before, after))
    assert {key for key, _ in was.values()} >= {*LATER}
    for position in positions:
        block = before.block(position)
        round_ = [*range(position, block.stop), *range(block.first, position)]
        stand_ins = (p for p in round_ if was[p][0] not in LATER and block.shape(p) == block.shape(position))
        assert now[position] == was[next(stand_ins)]


def test_a_new_stream_has_no_place_for_them(root: str) -> None:
    new = open_stream(root, ())
    assert (len(new), new.removed) == (42 - 4, 0)
    assert new.digest != open_stream(root, (), extent=BEGUN).digest


def test_those_held_out_are_the_same_less_what_was_removed(root: str) -> None:
    whole, held_out = _begun(root, None).hold_out(30)
    there, seen = open_stream(root, (), extent=BEGUN).hold_out(30)
    assert [s.key for s in seen] == [s.key for s in held_out if s.key not in LATER]
    assert len(seen) < 30
    assert there.digest == whole.digest


def test_a_mixture_counts_those_of_all_its_datasets(root: str) -> None:
    streams = [open_stream(root, (), extent=BEGUN) for _ in range(2)]
    assert mix_streams(streams, (1, 2)).removed == 6


def test_a_block_of_which_all_was_removed_is_said(tmp_path: Path) -> None:
    dataset = make_images(tmp_path, Pictures(4), 4)
    begun = measure_extent(dataset)
    remove(dataset, "keys", [f"k0000{i}" for i in range(4)])
    with pytest.raises(BrokenStage, match="no sample of a block of 4 could be used: all were removed"):
        list(open_stream(dataset.store.root, (), extent=begun).take(range(4), name))


@pytest.mark.parametrize("duplicates", [True, False])
def test_shards_that_came_later_are_left_alone(tmp_path: Path, duplicates: bool) -> None:
    folder, names = tmp_path / "web", ("a-0", "a-1", "b-0", "b-1")
    for number, of in enumerate(names):
        put_picture(folder, of, number)
    put_failure(folder, "b-1", "timed out")
    source = Web(str(folder), names)
    dataset = plan_dataset(str(tmp_path / "root"), source, Geometry(64), 2)

    def ingest() -> Stream:
        fill(dataset, source)
        mark_duplicates(dataset)
        return open_stream(dataset.store.root, (), duplicates=duplicates)

    before, begun = ingest(), measure_extent(dataset)
    put_picture(folder, "b-1", 3)
    assert plan_retry(dataset)
    grown = open_stream(dataset.store.root, (), duplicates=duplicates, extent=begun)  # while it is not whole
    assert ingest().digest != before.digest
    remove(Dataset.open(dataset.store.root), "keys", ["000000003"])  # its sample is in the shard that came later
    for after in (grown, open_stream(dataset.store.root, (), duplicates=duplicates, extent=begun)):
        assert (after.digest, after.removed) == (before.digest, 0)
        assert after.short_side == before.short_side == 64
        assert list(after.take(range(9), name)) == list(before.take(range(9), name))
