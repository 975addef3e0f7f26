"""Tars whose set has digests are compared with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import RequestError
from tests.pipeline.sources.tars.toys import JPEG, planned, write_tar


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
