"""Opening a stream: what it hands out is what the columns hold, or it is refused."""

from __future__ import annotations

import pickle
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.receipt import to_json
from t2i_shards.pipeline.stream import Stream, open_stream
from t2i_shards.pipeline.stream.open import SPARE, allow_files
from tests.faults.toys import Pictures, extract_here, make_images
from tests.pipeline.stream.conftest import SHARD_SIZE, SHARDS
from tests.pipeline.stream.toys import name


def keys(stream: Stream, epoch: int, start: int = 0) -> list[str]:
    return [sample.key for sample in stream.samples(epoch, start)]


def test_every_sample_once_with_the_members_of_all_columns(root: Path) -> None:
    stream = open_stream(str(root), ["toy"])
    dataset = Dataset.open(str(root))
    for epoch in (0, 1):
        found = {sample.key: sample.members for sample in stream.samples(epoch)}
        assert len(found) == len(keys(stream, epoch)) == len(stream) == SHARDS * SHARD_SIZE - 2
        for shard in dataset.shards:
            maps = {s.key: s for s in dataset.load("toy", shard)}
            for sample in dataset.load(IMAGES, shard):
                if sample.key not in ("k00004", "k00050"):
                    assert found[sample.key] == {**sample.members, **maps[sample.key].members}
                else:
                    assert sample.key not in found


def test_images_alone_have_all_samples(root: Path) -> None:
    stream = open_stream(str(root), [])
    assert sorted(keys(stream, 0)) == [f"k{i:05d}" for i in range(SHARDS * SHARD_SIZE)]
    assert len(stream) == SHARDS * SHARD_SIZE


def test_the_seed_decides_the_order(root: Path) -> None:
    orders = {tuple(keys(open_stream(str(root), ["toy"], seed), 0)) for seed in (0, 0, 1)}
    assert len(orders) == 2
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_a_stream_of_a_folder_travels_to_another_process(root: Path) -> None:
    stream = open_stream(str(root), ["toy"])
    copy = pickle.loads(pickle.dumps(stream))  # noqa: S301  (as a loader sends it to its workers)
    taken = list(stream.take(range(5, 90), name))
    assert len(taken) == 85
    assert list(copy.take(range(5, 90), name)) == taken


def test_its_digest_is_of_what_it_hands_out(root: Path) -> None:
    both = open_stream(str(root), ["toy"])
    assert both.digest == open_stream(str(root), ["toy"], seed=9).digest
    assert both.digest != open_stream(str(root), []).digest


def test_columns_that_are_not_there_or_not_whole_are_refused(tmp_path: Path, toy: str) -> None:
    dataset = make_images(tmp_path / "root", Pictures(6), 2)
    with pytest.raises(RequestError, match="has no column 'toy'; it has images"):
        open_stream(dataset.store.root, ["toy"])
    extract_here(dataset)
    (tmp_path / "root" / "toy" / "000001.json").unlink()
    with pytest.raises(RequestError, match=r"toy lacks 1 of 3 shards, the first 000001; run `.* toy` again"):
        open_stream(dataset.store.root, ["toy"])
    (tmp_path / "root" / "images" / "000002.json").unlink()
    with pytest.raises(
        RequestError, match="images lacks 1 of 3 shards, the first 000002; run ingest again to continue"
    ):
        open_stream(dataset.store.root, [])


def test_a_dataset_of_drops_alone_is_refused(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(2), 2)
    old = dataset.receipts(IMAGES)[0]
    changed = replace(old, samples=0, drops={"too small": 2})
    (tmp_path / "root" / "images" / "000000.json").unlink()
    dataset.store.create_bytes("images/000000.json", to_json(vars(changed)))
    with pytest.raises(RequestError, match="has no samples: every planned row was dropped"):
        open_stream(dataset.store.root, [])


def test_damaged_bytes_stop_the_stream_or_are_skipped(small: Path) -> None:
    """Of the toy's shard 1 one bit has flipped."""
    path = small / "toy" / "000001.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(DamagedShard, match=r"toy/000001\.tar: must have sha256"):
        keys(open_stream(str(small), ["toy"]), 0)
    stream = open_stream(str(small), ["toy"], skip_damaged=1)
    assert set(keys(stream, 0)) == {"k00000", "k00001", "k00002"}
    assert len(keys(stream, 0)) == len(stream) == 6
    assert stream._skipped == {1}
    # The pictures are whole.
    assert len(set(keys(open_stream(str(small), []), 0))) == 6


def test_it_works_on_s3(bucket: str, tmp_path: Path, toy: str) -> None:
    for index in (f"{bucket}/root", tmp_path / "root"):
        extract_here(make_images(index, Pictures(6), 3))
    there, here = open_stream(f"{bucket}/root", ["toy"]), open_stream(str(tmp_path / "root"), ["toy"])
    assert there.digest == here.digest
    assert len(there) == 6
    assert [(s.key, s.members) for s in there.samples(1)] == [(s.key, s.members) for s in here.samples(1)]
    assert keys(there, 0, 2) == keys(here, 0, 2)


def test_it_knows_the_short_side_of_the_pictures(root: Path) -> None:
    stream = open_stream(str(root), [])
    assert stream.short_side == stream.hold_out(2)[0].short_side == 64


@pytest.fixture
def few() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.usefixtures("few")
def test_it_is_raised_to_what_is_needed_and_not_lowered() -> None:
    allow_files(100)
    assert soft() == 600
    allow_files(1000)
    assert soft() == 1000 + SPARE
    allow_files(10)
    assert soft() == 1000 + SPARE


def test_more_than_the_system_allows_is_said(few: int, caplog: pytest.LogCaptureFixture) -> None:
    if few == resource.RLIM_INFINITY:
        pytest.skip("this system has no hard limit")
    allow_files(few)
    assert soft() == few
    (line,) = caplog.messages
    assert line.startswith(f"reading may need {few + SPARE} open files, and this process may have {few}: ")
