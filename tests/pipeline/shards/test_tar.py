"""Tar files: the same bytes each time, readable by every tool, and a reader that refuses any damage."""

from __future__ import annotations

import hashlib
import io
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import webdataset

from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.tar import (
    BLOCK,
    END,
    NAME_BYTES,
    TarError,
    TarWriter,
    read_members,
    read_samples,
    scan_members,
)

SIZES = (0, 1, 511, 512, 513, 5000)


def samples(count: int = 7) -> list[Sample]:
    rng = random.Random(4)
    return [
        Sample(f"key-{i:03d}", {"jpg": rng.randbytes(rng.choice(SIZES)), "keypose.json": b"{}", "txt": b"a b"})
        for i in range(count)
    ]


def write(content: list[Sample]) -> tuple[bytes, str]:
    file = io.BytesIO()
    writer = TarWriter(file)
    for sample in content:
        writer.add(sample)
    digest = writer.close()
    assert writer.bytes == len(file.getvalue())
    return file.getvalue(), digest


WHOLE, DIGEST = write(samples())


def members() -> list[tuple[str, bytes]]:
    return [(f"{s.key}.{name}", bytes(data)) for s in samples() for name, data in s.members.items()]


def test_the_bytes_are_a_function_of_the_samples() -> None:
    assert write(samples()) == (WHOLE, DIGEST)
    assert hashlib.sha256(WHOLE).hexdigest() == DIGEST
    assert len(WHOLE) % BLOCK == 0
    assert write(samples()[::-1])[0] != WHOLE


def test_our_reader_gives_back_what_was_written() -> None:
    assert [(name, bytes(data)) for name, _, data in read_members(memoryview(WHOLE))] == members()
    found = list(read_samples(memoryview(WHOLE)))
    assert [s.key for s in found] == [s.key for s in samples()]
    assert [{n: bytes(d) for n, d in s.members.items()} for s in found] == [dict(s.members) for s in samples()]
    assert list(read_samples(memoryview(write([])[0]))) == []


def members_of(data: memoryview) -> Iterator[tuple[str, memoryview]]:
    """What both readers find: the one of bytes in memory, and the one of a file that is read once."""
    scanned = scan_members(io.BytesIO(data), len(data))
    try:
        found = list(read_members(data))
    except TarError as error:
        with pytest.raises(TarError, match=f"^{re.escape(str(error))}$"):
            list(scanned)
        raise
    assert list(scanned) == found
    return ((name, of) for name, _, of in found)


def test_the_standard_library_reads_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(WHOLE), mode="r:") as tar:
        infos = tar.getmembers()
        assert [(info.name, tar.extractfile(info).read()) for info in infos] == members()  # type: ignore[union-attr]
        assert {(info.mode, info.mtime, info.uid, info.gid, info.uname) for info in infos} == {
            (0o644, 0, 0, 0, "")
        }


def test_gnu_tar_reads_it(tmp_path: Path) -> None:
    if not shutil.which("tar"):
        pytest.skip("needs the program tar")
    (tmp_path / "it.tar").write_bytes(WHOLE)
    done = subprocess.run(["tar", "-xf", "it.tar"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != "it.tar"} == dict(members())


def test_webdataset_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "000000.tar"
    path.write_bytes(WHOLE)
    found = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
    assert [s["__key__"] for s in found] == [s.key for s in samples()]
    for theirs, ours in zip(found, samples(), strict=True):
        assert {name: theirs[name] for name in ours.members} == ours.members


def test_a_name_too_long_or_not_ascii_is_refused() -> None:
    longest = "k" * (NAME_BYTES - 4)
    assert next(members_of(memoryview(write([Sample(longest, {"jpg": b"1"})])[0])))[0] == f"{longest}.jpg"
    with pytest.raises(ValueError, match="longer than 100 bytes"):
        write([Sample(longest + "k", {"jpg": b"1"})])
    with pytest.raises(ValueError, match="ascii"):
        write([Sample("ключ", {"jpg": b"1"})])


def test_a_key_that_returns_is_another_sample() -> None:
    data, _ = write([Sample("a", {"jpg": b"1"}), Sample("b", {"jpg": b"2"}), Sample("a", {"txt": b"3"})])
    assert [s.key for s in read_samples(memoryview(data))] == ["a", "b", "a"]


def test_a_repeated_member_is_an_error() -> None:
    data, _ = write([Sample("a", {"jpg": b"1"}), Sample("a", {"jpg": b"2"})])
    with pytest.raises(TarError, match=r"a\.jpg is there twice"):
        list(read_samples(memoryview(data)))


@pytest.mark.parametrize("key", ["/etc/cron", "../../etc/cron", "folder/cron", "C:\\cron", ""])
def test_a_member_in_a_folder_is_an_error(key: str) -> None:
    data, _ = write([Sample(key, {"jpg": b"1"})])
    with pytest.raises(TarError, match=r"a member must be named key\.member, in no folder, not "):
        list(read_samples(memoryview(data)))


def test_every_flip_in_a_header_is_an_error() -> None:
    data = write(samples(1))[0]
    for bit in range(BLOCK * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = list(members_of(memoryview(damaged)))
        except TarError:
            continue
        # Padding of the checksum's own field says nothing, so a flip of it may pass; sha256 finds it.
        assert bit // 8 in range(154, 156)
        assert [name for name, _ in found] == [name for name, _, _ in read_members(memoryview(data))]


def test_every_cut_is_an_error() -> None:
    data = write(samples(2))[0]
    for length in range(len(data)):
        with pytest.raises(TarError):
            list(members_of(memoryview(data)[:length]))


@pytest.mark.parametrize("more", [b"\0", bytes(BLOCK), b"x" * BLOCK, WHOLE])
def test_anything_after_the_end_is_an_error(more: bytes) -> None:
    with pytest.raises(TarError, match="followed by something else"):
        list(members_of(memoryview(WHOLE + more)))


def with_field(start: int, value: bytes) -> bytes:
    """One member whose header was changed and its checksum made right."""
    header = bytearray(write([Sample("a", {"jpg": b"1"})])[0][:BLOCK])
    header[start : start + len(value)] = value
    total = sum(header[:148]) + sum(header[156:]) + 8 * 0x20
    header[148:156] = b"%06o\0 " % total
    return bytes(header) + b"1".ljust(BLOCK, b"\0") + END


@pytest.mark.parametrize("kind", [b"1", b"2", b"5", b"g", b"x", b"L", b"S", b"\0"])
def test_what_is_no_plain_file_is_an_error(kind: bytes) -> None:
    with pytest.raises(TarError, match="not that of a plain file"):
        list(members_of(memoryview(with_field(156, kind))))


@pytest.mark.parametrize(
    "size", [b"-0000001000", b"+0000000001", b"0o000000001", b"0000000_001", b"\0" * 11, b"9" * 11]
)
def test_a_size_that_is_not_octal_is_an_error(size: bytes) -> None:
    # int(..., 8) takes a sign, a prefix and underscores; a negative size would be read for ever.
    with pytest.raises(TarError, match="not octal"):
        list(members_of(memoryview(with_field(124, size))))
    assert list(members_of(memoryview(with_field(124, b"00000000001"))))


def test_a_size_beyond_the_file_is_an_error() -> None:
    with pytest.raises(TarError, match="cut"):
        list(members_of(memoryview(with_field(124, b"77777777777"))))
