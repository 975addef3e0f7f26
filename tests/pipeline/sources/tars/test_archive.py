"""Tars of strangers: what is whole is read, and nothing else; a damaged one is noticed."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.tars.archive import DamagedTar, NotATar, read_members
from tests.pipeline.sources.tars.toys import JPEG, planned, write_tar

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def members(data: bytes) -> list[tuple[str, bytes]]:
    return [(m.name, data[m.at : m.at + m.size]) for m in read_members(io.BytesIO(data), len(data))]


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_of_tar(form: int, tmp_path: Path) -> None:
    wanted = {"a.txt": b"one", f"{'d' * 90}/{'n' * 60}.jpg": b"two" * 300, "empty.txt": b""}
    path = write_tar(tmp_path / "1.tar", wanted, format=form)
    assert dict(members(path.read_bytes())) == wanted


def test_only_regular_files_are_members(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with tarfile.open(tmp_path / "1.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("link.txt")
            info.type, info.linkname = kind, str(tmp_path / "secret")
            tar.addfile(info)
        info = tarfile.TarInfo("a.txt")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"a"))
    assert members((tmp_path / "1.tar").read_bytes()) == [("a.txt", b"a")]


def damaged(how: str, data: bytes) -> bytes:
    second = data.index(b"b.jpg")
    if how == "header":
        return data[: second + 20] + b"\xff" + data[second + 21 :]
    return data[: {"boundary": second, "in a header": second + 100, "in a picture": second + 700}[how]]


@pytest.mark.parametrize("how", ["header", "boundary", "in a header", "in a picture"])
def test_what_lies_before_the_damage_is_taken_and_the_damage_counted(how: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "1.tar", {"a.jpg": JPEG, "a.txt": "a", "b.jpg": JPEG, "b.txt": "b"})
    path.write_bytes(damaged(how, path.read_bytes()))
    rows, left_out = planned(path)
    assert [row.key for row in rows] == ["a"]
    assert left_out == {"tar damaged or cut, the rest of it not read": 1}


def test_a_header_cannot_ask_for_memory(tmp_path: Path) -> None:
    """A long name of GNU's, and records of PAX, of 100 MB."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = kind, 100 << 20
        data = write_tar(tmp_path / "1.tar", {"a.txt": "a"}).read_bytes()[:1024] + info.tobuf(tarfile.USTAR_FORMAT)
        with pytest.raises(DamagedTar, match=r"a header of 104857600 bytes"):
            members(data + bytes(4096))


@pytest.mark.parametrize("data", [b"", b"no tar", b"\x1f\x8b" + bytes(2000)])
def test_what_is_no_tar(data: bytes) -> None:
    with pytest.raises(NotATar):
        members(data)


@pytest.mark.parametrize("place", ["set/data/SHA256SUMS", "set/SHA256SUMS"])
@pytest.mark.parametrize("pattern", ["set/data", "set/data/*.tar"])
def test_a_tar_that_is_not_that_of_its_digest_is_refused(place: str, pattern: str, tmp_path: Path) -> None:
    tars = [write_tar(tmp_path / f"set/data/{i}.tar", {f"{i}.jpg": JPEG, f"{i}.txt": "t"}) for i in range(3)]
    named = "data/1.tar" if place == "set/SHA256SUMS" else "1.tar"
    (tmp_path / place).write_text(f"{hashlib.sha256(tars[1].read_bytes()).hexdigest()}  {named}\nno line\n")
    assert [row.key for row in planned(tmp_path / pattern)[0]] == ["0", "1", "2"]
    for tar in (tars[0], tars[1]):  # the first has no digest
        data = tar.read_bytes()
        tar.write_bytes(data.replace(JPEG[300:310], JPEG[300:309] + b"!"))
        if tar == tars[0]:
            assert len(planned(tmp_path / pattern)[0]) == 3
    with pytest.raises(RequestError, match=r"data/1\.tar: must have sha256 .*, as SHA256SUMS has it"):
        planned(tmp_path / pattern)


def test_a_publication_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    import boto3

    data = write_tar(tmp_path / "1.tar", {"a.jpg": JPEG, "a.txt": "t"}).read_bytes()
    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    client.put_object(Bucket=name, Key="set/data/1.tar", Body=data)
    assert len(planned(f"{bucket}/set/data/*.tar")[0]) == 1
    for digest, right in ((hashlib.sha256(data).hexdigest(), True), ("0" * 64, False)):
        client.put_object(Bucket=name, Key="set/SHA256SUMS", Body=f"{digest}  data/1.tar\n".encode())
        if right:
            assert len(planned(f"{bucket}/set/data/*.tar")[0]) == 1
        else:
            with pytest.raises(RequestError, match="must have sha256 0000"):
                planned(f"{bucket}/set/data/*.tar")
