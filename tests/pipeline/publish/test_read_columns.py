"""ConcurrentTarWriter writes and hashes what TarWriter does, whatever the sizes, whatever a write takes."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from t2i_shards.pipeline.publish import read_columns as beside
from t2i_shards.pipeline.publish.read_columns import ConcurrentTarWriter, write_all
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.tar import TarWriter

SIZES = (0, 1, 511, 512, 513, 1023, 4095, 4096, 4097, 9000)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def draw(rng: random.Random) -> Sample:
    names = rng.sample(("jpg", "txt", "json", "sketch.png", "keypose.json"), rng.randrange(6))
    members: dict[str, bytes | memoryview] = {}
    for name in names:
        data = rng.randbytes(rng.choice(SIZES))
        members[name] = memoryview(data) if rng.random() < 0.5 else data
    return Sample(f"k{rng.randrange(10**9)}", members)


def write_both(samples: list[Sample], path: Path, threads: ThreadPoolExecutor) -> tuple[int, str]:
    """(bytes, sha256) of ConcurrentTarWriter, after comparing them with TarWriter's and the file's."""
    expected = io.BytesIO()
    writer = TarWriter(expected)
    with open(path, "x+b", buffering=0) as file:
        ours = ConcurrentTarWriter(file, threads)
        for sample in samples:
            writer.add(sample)
            ours.add(sample)
        digest = ours.close()
    assert digest == writer.close()
    assert path.read_bytes() == expected.getvalue()
    assert ours.bytes == writer.bytes == path.stat().st_size
    assert digest == sha256(expected.getvalue()).hexdigest()
    return ours.bytes, digest


@pytest.mark.parametrize("chunk", [1, 512, 1024, 4096, 5000, 1 << 20])
def test_the_bytes_of_a_tar_writer(
    chunk: int, tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also no sample at all, samples without members, a chunk that ends with a member, many parts."""
    monkeypatch.setattr(beside, "CHUNK", chunk)
    rng = random.Random(chunk)
    for number, count in enumerate((0, 1, 2, 3, 30)):
        for parts in (3, 7, beside.MOST_PARTS):
            monkeypatch.setattr(beside, "MOST_PARTS", parts)
            write_both([draw(rng) for _ in range(count)], tmp_path / f"{number}-{parts}", threads)
    even = max(0, chunk - 512) // 512 * 512  # with its header, and nothing after it
    write_both([Sample("a", {"x": bytes(even)})] * 3, tmp_path / "even", threads)


def test_more_parts_than_one_call_takes(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    samples = [Sample(f"k{i}", {"txt": b"%d" % i}) for i in range(beside.MOST_PARTS)]
    assert write_both(samples, tmp_path / "many", threads)[0] == 1024 * (len(samples) + 1)


def test_what_a_write_leaves_is_written_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a signal, or a disk that is nearly full, lets a write end early."""
    rng = random.Random(5)
    parts = [rng.randbytes(rng.choice(SIZES)) for _ in range(40)]
    real = os.write
    monkeypatch.setattr(os, "writev", lambda file, some: real(file, b"".join(some)[:777]))
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:100]))
    monkeypatch.setattr(beside, "MOST_PARTS", 16)
    with open(tmp_path / "file", "x+b", buffering=0) as file:
        write_all(file.fileno(), parts)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)
