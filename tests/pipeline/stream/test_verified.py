"""What is handed out is what was verified, and a machine verifies a shard once, however many read it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

import t2i_shards.pipeline.stream.verified as verified
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.stream import Stream, open_stream
from t2i_shards.pipeline.stream.index import Entry, Vouched, index_shard
from tests.faults.toys import Pictures, make_images

CHECKOUT = Path(__file__).parents[3]
TAR = "images/000000.tar"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which this test's processes share what they verified."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder / f"t2i-shards-{os.getuid()}" / "verified"


@pytest.fixture
def root(tmp_path: Path, machine: Path) -> Path:
    make_images(tmp_path / "root", Pictures(6), 6)
    return tmp_path / "root"


@pytest.fixture
def read_whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards of which all bytes were read, as often as they were."""
    seen: list[str] = []
    real = verified.index_shard

    def note(file: BinaryIO, vouched: Vouched) -> list[Entry]:
        seen.append(vouched.path)
        return real(file, vouched)

    monkeypatch.setattr(verified, "index_shard", note)
    return seen


def flip(path: Path) -> None:
    """Another byte in each picture, in place."""
    data = bytearray(path.read_bytes())
    for start in range(0, len(data) - 1024, 512):
        data[start + 200] ^= 1
    with open(path, "r+b") as file:
        file.write(data)


def cut(path: Path) -> None:
    os.truncate(path, 512)


@pytest.mark.parametrize("change", [flip, cut])
def test_a_shard_that_changes_after_it_was_verified(root: Path, change: Callable[[Path], None]) -> None:
    """In a process of its own, as reading a mapped file that was truncated kills the process."""
    script = (
        "import sys; from pathlib import Path\n"
        "from t2i_shards.pipeline.errors import DamagedShard; from t2i_shards.pipeline.stream import open_stream\n"
        f"from tests.pipeline.stream.test_verified import {change.__name__} as change\n"
        "samples = open_stream(sys.argv[1], []).samples(0); print(next(samples).key[0])\n"
        f"change(Path(sys.argv[1], '{TAR}'))\n"
        "try: print('handed out', next(samples))\n"
        "except DamagedShard as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script, root], cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    first, said = done.stdout.splitlines()
    assert first == "k"
    assert said.startswith(f"{TAR}: changed after it was verified; its ")
    with pytest.raises(DamagedShard, match=rf"^{TAR}: must have (sha256|\d+ bytes)"):
        next(open_stream(str(root), []).samples(0))


def keys(stream: Stream) -> list[str]:
    return sorted(sample.key for sample in stream.samples(0))


def test_it_is_verified_once(root: Path, read_whole: list[str]) -> None:
    for _ in range(3):
        assert keys(open_stream(str(root), [])) == [f"k{i:05d}" for i in range(6)]
    assert read_whole == [TAR]


def test_a_file_that_was_touched_is_verified_again(root: Path, read_whole: list[str]) -> None:
    keys(open_stream(str(root), []))
    before = (root / TAR).stat()
    flip(root / TAR)
    os.utime(root / TAR, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamagedShard, match="must have sha256"):
        keys(open_stream(str(root), []))
    assert read_whole == [TAR, TAR]


def test_damage_that_changes_no_file_time_is_found_and_then_looked_for(root: Path, read_whole: list[str]) -> None:
    """As of a disk: all that the kernel knows of the file is as before, and its bytes are not."""
    receipt = Dataset.open(str(root)).receipts("images")[0]
    vouched = Vouched(TAR, receipt.bytes, receipt.sha256, receipt.samples)
    with open(root / TAR, "rb") as file:
        entries = index_shard(file, vouched)
    flip(root / TAR)
    with open(root / TAR, "rb") as file:
        verified.note(file, vouched, entries)
    with pytest.raises(DamagedShard, match="changed after it was verified"):
        keys(open_stream(str(root), []))
    assert read_whole == []
    with pytest.raises(DamagedShard, match="must have sha256"):
        keys(open_stream(str(root), []))
    assert read_whole == [TAR]


@pytest.mark.parametrize("data", [b"", b"\x93", b"\xc1 no msgpack", b"\x91\x92\x01\x02"])
def test_an_index_that_cannot_be_read_is_made_again(
    data: bytes, root: Path, machine: Path, read_whole: list[str]
) -> None:
    for _ in range(2):
        assert len(keys(open_stream(str(root), []))) == 6
        (index,) = machine.glob("*.index")
        index.write_bytes(data)
    assert read_whole == [TAR, TAR]


def test_without_a_shared_folder_each_process_verifies(root: Path, machine: Path, read_whole: list[str]) -> None:
    machine.parent.rmdir() if machine.parent.exists() else None
    machine.parent.write_bytes(b"a file where the folder should be")
    for _ in range(2):
        assert len(keys(open_stream(str(root), []))) == 6
    assert read_whole == [TAR, TAR]


@pytest.fixture
def many(tmp_path: Path) -> str:
    """A dataset of twelve shards."""
    make_images(tmp_path / "many", Pictures(24), 2)
    return str(tmp_path / "many")


def test_indexes_are_bounded(root: Path, many: str, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "TRIM_EVERY", 1)
    keys(open_stream(str(root), []))
    (index,) = machine.glob("*.index")
    bound = 2 * index.stat().st_size
    monkeypatch.setattr(verified, "BOUND", bound)
    assert len(keys(open_stream(many, []))) == 24
    left = [file.stat().st_size for file in machine.glob("*.*")]
    assert 2 <= len(left) < 12
    assert sum(left) <= bound


def test_the_number_of_indexes_is_bounded(many: str, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "TRIM_EVERY", 1)
    monkeypatch.setattr(verified, "MOST", 5)
    assert len(keys(open_stream(many, []))) == 24
    assert len(list(machine.glob("*.*"))) == 5


def test_opening_a_shard_does_not_look_at_all_indexes(
    many: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tens of thousands of them that took most of a second for each shard."""
    looks: list[Path] = []
    monkeypatch.setattr(verified, "_trim", looks.append)
    assert len(keys(open_stream(many, []))) == 24
    assert len(looks) < 12


READER = """
import sys
import t2i_shards.pipeline.stream.verified as verified
from t2i_shards.pipeline.stream import open_stream
real = verified.index_shard
def note(file, vouched):
    with open(sys.argv[2], "a") as log:
        log.write(vouched.path + "\\n")
    return real(file, vouched)
verified.index_shard = note
sys.stdin.readline()
print(len(list(open_stream(sys.argv[1], []).samples(0))))
"""


def test_processes_share_the_work(tmp_path: Path, machine: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    make_images(root, Pictures(24), 2)
    command = [sys.executable, "-c", READER, str(root), str(log)]
    pipe = subprocess.PIPE
    readers = [subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    assert [reader.communicate("go\n")[0] for reader in readers] == ["24\n"] * 3
    assert sorted(log.read_text().splitlines()) == [f"images/{shard:06d}.tar" for shard in range(12)]


def test_samples_cross_process_borders(root: Path) -> None:
    samples = list(open_stream(str(root), []).samples(0))
    assert all(type(data) is bytes for sample in samples for data in sample.members.values())
    assert pickle.loads(pickle.dumps(samples)) == samples  # noqa: S301
