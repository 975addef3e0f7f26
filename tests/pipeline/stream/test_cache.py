"""The cache: bounded, and always verified."""

from __future__ import annotations

import builtins
import errno
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.object_store import ObjectStore
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.stream import Stream, open_stream
from t2i_shards.pipeline.stream.cache import open_cache
from tests.faults.toys import Pictures, make_images
from tests.pipeline.publish.toys import publish_here, toy_dataset
from tests.pipeline.stream.cached import Far, damage, read, samples_of
from tests.pipeline.stream.toys import name, send


def test_what_was_fetched_is_not_fetched_again(far: Far) -> None:
    for _ in range(3):
        for shard in (0, 1, 2):
            assert read(far.cache.open(far.vouched[shard])) == samples_of(shard)
    assert far.loads() == [0, 1, 2]
    copy = pickle.loads(pickle.dumps(far.cache))  # noqa: S301  (as a loader sends it to its workers)
    assert read(copy.open(far.vouched[1])) == samples_of(1)
    assert far.loads() == [0, 1, 2]


def test_the_least_recently_used_leave_first_and_the_bound_holds(far: Far) -> None:
    used: list[int] = []
    for shard in (0, 1, 2, 0, 3, 1, 4, 0, 5):
        far.cache.open(far.vouched[shard])
        used = [*(other for other in used if other != shard), shard]
        assert far.cached() == set(used[-3:])
        time.sleep(0.01)  # a file's time is that of the kernel's last tick
    assert list(far.folder.glob("*.part")) == []


def test_files_in_use_stay_and_shards_without_room_bypass_the_cache(
    far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    used = [far.cache.open(far.vouched[shard]) for shard in (0, 1)]
    for shard in (2, 3, 4):
        far.cache.open(far.vouched[shard])
        assert far.cached() == {0, 1, shard}
    used.append(far.cache.open(far.vouched[4]))
    assert read(far.cache.open(far.vouched[5])) == samples_of(5)
    assert far.cached() == {0, 1, 4}
    assert caplog.messages == ["no room in the cache for images/000005.tar: all of it is in use"]
    del used[1:]
    far.cache.open(far.vouched[5])
    far.cache.open(far.vouched[3])
    assert far.cached() == {0, 5, 3}
    used.clear()
    far.cache.open(far.vouched[2])
    assert 0 not in far.cached()


def test_a_damaged_copy_is_noticed_and_fetched_again(far: Far, caplog: pytest.LogCaptureFixture) -> None:
    far.cache.open(far.vouched[0])
    damage(far.file(0))
    assert read(far.cache.open(far.vouched[0])) == samples_of(0)
    assert far.loads() == [0, 0]
    (said,) = caplog.messages
    assert said.startswith("a cached copy is damaged and is fetched again: images/000000.tar: must have sha256")
    assert read(far.cache.open(far.vouched[0])) == samples_of(0)
    assert far.loads() == [0, 0]


@pytest.mark.parametrize("size", [0, 1, 512, 1024])
def test_a_cut_copy_is_fetched_again(size: int, far: Far) -> None:
    far.cache.open(far.vouched[0])
    far.file(0).write_bytes(far.file(0).read_bytes()[:size])
    assert read(far.cache.open(far.vouched[0])) == samples_of(0)
    assert far.loads() == [0, 0]
    assert far.file(0).stat().st_size == far.size


def test_remote_damage_never_enters_the_cache(far: Far) -> None:
    damage(far.origin._folder / "images" / "000000.tar")
    with pytest.raises(DamagedShard, match=r"^images/000000\.tar: must have sha256"):
        far.cache.open(far.vouched[0])
    (far.origin._folder / "images" / "000001.tar").unlink()
    with pytest.raises(FileNotFoundError):
        far.cache.open(far.vouched[1])
    assert far.cached() == set()
    assert list(far.folder.glob("*.*")) == []


def test_what_a_dead_process_left_half_written_is_swept(far: Far) -> None:
    far.cache.open(far.vouched[0])
    (far.folder / f"{far.receipts[1].sha256}.part").write_bytes(bytes(far.size))
    (far.folder / f"{far.receipts[5].sha256}.part").write_bytes(bytes(far.size))
    for shard in (1, 2):
        assert read(far.cache.open(far.vouched[shard])) == samples_of(shard)
    assert far.cached() == {0, 1, 2}
    assert list(far.folder.glob("*.part")) == []


def test_a_stream_from_s3_comes_by_the_cache(bucket: str, tmp_path: Path) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    make_images(root, Pictures(4), 2)
    far = open_store(f"{bucket}/root")
    for path in ("dataset.json", *(f"images/00000{shard}.{end}" for shard in (0, 1) for end in ("tar", "json"))):
        far.create(path, root / path)
    size = sum(path.stat().st_size for path in root.glob("images/*.tar"))
    here, there = open_stream(str(root), []), open_stream(far.root, [], cache=cache, cache_bytes=size)
    expected = [(sample.key, sample.members) for sample in here.samples(1)]
    assert [(sample.key, sample.members) for sample in there.samples(1)] == expected
    for shard in (0, 1):
        far.discard(f"images/00000{shard}.tar")
    assert list(there.take(range(12), name)) == list(here.take(range(12), name))
    assert there.digest == here.digest

    with pytest.raises(
        RequestError, match=rf"must have room for two blocks of shards, {size} bytes, not {size - 1}$"
    ):
        open_stream(far.root, [], cache=cache, cache_bytes=size - 1)


def test_a_cache_that_cannot_be_written_is_not_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a path where no folder can be, nor a folder that is read-only."""
    make_images(tmp_path / "root", Pictures(4), 2)
    far = send(tmp_path / "root", f"{bucket}/root")
    expected = [sample.key for sample in open_stream(str(tmp_path / "root"), []).samples(0)]

    def told(folder: Path) -> list[str]:
        caplog.clear()
        assert [sample.key for sample in open_stream(far.root, [], cache=folder).samples(0)] == expected
        return [
            record.getMessage()
            for record in caplog.records
            if record.name.startswith("t2i_shards.pipeline.stream")
        ]

    (line,) = told(tmp_path / "root" / "dataset.json" / "cache")
    assert (
        "is read without a cache, and all of it again in each epoch: the cache cannot be written: NotADirectory"
        in line
    )
    (tmp_path / "folder").mkdir()
    real = builtins.open

    def refuse(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if "r" not in mode and str(file).startswith(str(tmp_path / "folder")):
            raise OSError(errno.EROFS, "Read-only file system", str(file))
        return real(file, mode, *more, **options)

    monkeypatch.setattr("builtins.open", refuse)
    (line,) = told(tmp_path / "folder")
    assert line.startswith("the cache cannot be written, shards are read without it: OSError: ")


def test_a_dataset_in_a_folder_uses_no_cache(root: Path, tmp_path: Path) -> None:
    stream = open_stream(str(root), [], cache=tmp_path / "cache", cache_bytes=0)
    assert len(list(stream.samples(0))) == len(stream)
    assert not (tmp_path / "cache").exists()
    assert isinstance(stream._shards._store, FolderStore)


Open = Callable[..., Stream]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that were loaded from far away, as often as they were."""
    seen: list[str] = []
    real = ObjectStore._read

    def note(store: ObjectStore, path: str) -> bytes:
        if path.endswith(".tar"):
            seen.append(path)
        return real(store, path)

    monkeypatch.setattr(ObjectStore, "_read", note)
    return seen


@pytest.fixture(params=["dataset", "publication"])
def opener(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> Open:
    """Opens two shards on S3."""
    if request.param == "dataset":
        make_images(tmp_path / "root", Pictures(4), 2)
        far = send(tmp_path / "root", f"{bucket}/root")
        return lambda **asked: open_stream(far.root, [], **asked)
    publish_here(toy_dataset(tmp_path / "root", 4, 2, color=False), tmp_path / "to", shard_size=2)
    published = send(tmp_path / "to", f"{bucket}/to")
    return lambda **asked: open_published(published.root, **asked)


def cached(folder: Path) -> int:
    return len(list(folder.glob("*.tar")))


def test_a_remote_shard_is_loaded_once(opener: Open, loaded: list[str], tmp_path: Path) -> None:
    for epoch in range(2):
        assert len(list(opener().samples(epoch))) == 4
    assert len(loaded) == 2
    assert cached(Path(os.environ["T2I_SHARDS_CACHE"], "shards")) == 2
    assert len(list(opener(cache=tmp_path / "other").samples(0))) == 4
    assert (len(loaded), cached(tmp_path / "other")) == (4, 2)


def test_none_was_asked_for(opener: Open, loaded: list[str]) -> None:
    stream = opener(cache_bytes=0)
    for epoch in range(2):
        assert len(list(stream.samples(epoch))) == 4
    assert len(loaded) == 4
    assert not Path(os.environ["T2I_SHARDS_CACHE"]).exists()


def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("T2I_SHARDS_CACHE", raising=False)
    monkeypatch.setattr("pathlib.Path.home", fail)


def a_file_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_SHARDS_CACHE", "/dev/null")


def a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)


@pytest.mark.parametrize("lack", [no_home, a_file_in_its_place, a_full_disk])
def test_an_unusable_cache_does_not_stop_the_stream(
    lack: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    lack(monkeypatch)
    store: Any = ObjectStore("s3://bucket/root")
    assert open_cache(store, [800, 800], None, None) is None
    (said,) = caplog.messages
    assert said.startswith("s3://bucket/root is read without a cache, and all of it again in each epoch: the ")
    if lack is not a_full_disk:
        return
    with pytest.raises(RequestError, match="must have room for two blocks of shards, 1600 bytes, not 500"):
        open_cache(store, [800, 800], tmp_path, None)


def test_a_disk_that_fills_up_is_read_past(opener: Open, disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = opener(cache=disk / "cache", cache_bytes=1 << 30)
    found = os.statvfs(disk)
    (disk / "other").write_bytes(bytes(found.f_bavail * found.f_frsize))
    assert len(list(stream.samples(0))) == 4
    assert cached(disk / "cache") == 0
    assert sum(line.startswith("the cache cannot be written, ") for line in caplog.messages) == 1
