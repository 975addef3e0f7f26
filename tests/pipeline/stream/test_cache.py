"""The cache: bounded, shared by the processes of a machine, and never believed."""

from __future__ import annotations

import builtins
import errno
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.shards.commit import commit_samples, tar_path
from t2i_shards.pipeline.shards.folder_store import FolderStore
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.stream import open_stream
from t2i_shards.pipeline.stream.cache import ShardCache
from t2i_shards.pipeline.stream.index import Vouched
from t2i_shards.pipeline.stream.verified import VerifiedShard
from tests.faults.toys import Pictures, make_images
from tests.pipeline.stream.toys import Origin, name, send

Processes: TypeAlias = list[subprocess.Popen[str]]
CHECKOUT = Path(__file__).parents[3]
SHARDS = 6


class Far:
    """An origin with shards of one size, and a cache that holds three of them."""

    def __init__(self, folder: Path) -> None:
        self.origin = Origin(folder / "origin", folder / "log")
        self.receipts = [
            commit_samples(self.origin, samples_of(shard), column="images", shard=shard, planned=2, recipe="")
            for shard in range(SHARDS)
        ]
        self.size = self.receipts[0].bytes
        assert {receipt.bytes for receipt in self.receipts} == {self.size}
        self.folder = folder / "cache"
        self.cache = ShardCache(self.origin, self.folder, 3 * self.size)
        self.vouched = [vouched_of(receipt) for receipt in self.receipts]

    def cached(self) -> set[int]:
        """The shards whose files are there, after the sum of all files was held against the bound."""
        assert sum(path.stat().st_size for path in self.folder.glob("*.*")) <= 3 * self.size
        return {shard for shard in range(SHARDS) if self.file(shard).exists()}

    def file(self, shard: int) -> Path:
        return self.folder / f"{self.receipts[shard].sha256}.tar"

    def loads(self) -> list[int]:
        return [int(path[7:13]) for path in self.origin.loads()]


def vouched_of(receipt: Receipt) -> Vouched:
    return Vouched(tar_path(IMAGES, receipt.shard), receipt.bytes, receipt.sha256, receipt.samples)


def read(shard: VerifiedShard) -> list[Sample]:
    """All samples of a shard."""
    return [Sample(e.key, {m.name: shard.read(m) for m in e.parts}) for e in shard.entries]


def samples_of(shard: int) -> list[Sample]:
    return [Sample(f"k{shard}{i}", {"jpg": bytes([shard, i]) * 5000}) for i in range(2)]


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(tmp_path)


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


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


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


# A process that loads shard 0 and says when; with a gate, the origin answers when that file is there.
LOADER = """
import os, sys, time
from pathlib import Path
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.stream.cache import ShardCache
from t2i_shards.pipeline.stream.index import Vouched
from tests.pipeline.stream.toys import Origin

folder, gate, child = Path(sys.argv[1]), Path(sys.argv[2]), len(sys.argv) > 3

class Gated(Origin):
    def load(self, path):
        data = super().load(path)
        if child and os.fork() == 0:
            sys.stdin.read()  # as a loader's worker, for as long as its parent
            os._exit(0)
        while not gate.exists():
            time.sleep(0.01)
        return data

receipt = Receipt.decode((folder / "origin/images/000000.json").read_bytes(), "")
shard = Vouched("images/000000.tar", receipt.bytes, receipt.sha256, receipt.samples)
cache = ShardCache(Gated(folder / "origin", folder / "log"), folder / "cache", 3 * receipt.bytes)
print("begins", flush=True)
opened = cache.open(shard)
print(opened.entries[1].key, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def processes() -> Iterator[Processes]:
    started: Processes = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def load_elsewhere(far: Far, gate: Path, processes: Processes, *more: str) -> subprocess.Popen[str]:
    """Another process that begins to load shard 0."""
    command = [sys.executable, "-c", LOADER, str(far.origin.log.parent), str(gate), *more]
    pipe = subprocess.PIPE
    processes.append(subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True))
    assert read_line(processes[-1]) == "begins"
    return processes[-1]


def read_line(process: subprocess.Popen[str]) -> str:
    """What it says next; nothing once it is dead, as it is when it hangs for minutes."""
    assert process.stdout is not None
    ends = threading.Timer(300, process.kill)
    ends.start()
    line = process.stdout.readline().strip()
    ends.cancel()
    return line


def await_load(far: Far) -> None:
    limit = time.monotonic() + 600
    while not far.loads():
        assert time.monotonic() < limit, "nobody began to fetch"
        time.sleep(0.01)


def test_one_process_fetches_and_the_others_wait(far: Far, tmp_path: Path, processes: Processes) -> None:
    gate = tmp_path / "gate"
    loaders = [load_elsewhere(far, gate, processes) for _ in range(3)]
    await_load(far)
    gate.touch()
    assert [read_line(loader) for loader in loaders] == ["k01"] * 3
    assert far.loads() == [0]


def test_the_death_of_the_fetching_process_blocks_no_other(far: Far, tmp_path: Path, processes: Processes) -> None:
    dies = load_elsewhere(far, tmp_path / "never", processes)
    await_load(far)
    waits = load_elsewhere(far, tmp_path, processes)  # its gate is open
    dies.send_signal(signal.SIGKILL)
    assert read_line(waits) == "k01"
    assert far.loads() == [0, 0]


def test_files_that_another_process_uses_stay(far: Far, tmp_path: Path, processes: Processes) -> None:
    user = load_elsewhere(far, tmp_path, processes)
    assert read_line(user) == "k01"
    for shard in (1, 2, 3, 4):
        far.cache.open(far.vouched[shard])
        assert 0 in far.cached()
    user.kill()
    user.wait()
    for shard in (5, 1):
        far.cache.open(far.vouched[shard])
    assert 0 not in far.cached()


def test_a_child_that_was_forked_meanwhile_keeps_no_lock(far: Far, tmp_path: Path, processes: Processes) -> None:
    """A loader forks its workers whenever it likes; they live on with all that was open then."""
    parent = load_elsewhere(far, tmp_path, processes, "child")
    assert read_line(parent) == "k01"
    far.file(0).unlink()
    other = load_elsewhere(far, tmp_path, processes)
    assert read_line(other) == "k01"
    assert far.loads() == [0, 0]


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
    """Neither a place where no folder can be, nor a folder where nothing may be made."""
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
