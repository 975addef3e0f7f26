"""Files below a folder, here or in a bucket: whatever their names are, each is read or has its reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.shards.input_files import Pattern
from t2i_shards.pipeline.sources.tree import Tree, open_tree

FILES = {"a.png": b"picture", "empty.txt": b"", "sub/b.png": b"other"}
NAMES = {
    "nothing.png": "no such file",
    "a.png/x.png": "no such file",
    "nul\0.png": "no such file",
    "half \ud800.png": "no such file",
    "../secret.png": "link out of the folder",
    "sub/../../secret.png": "link out of the folder",
    "/etc/passwd": "link out of the folder",
}


@pytest.fixture
def local(tmp_path: Path) -> Tree:
    for name, data in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "secret.png").write_bytes(b"secret")
    return open_tree(str(tmp_path / "tree"))


@pytest.fixture
def remote(bucket: str) -> Tree:
    import boto3

    for name, data in FILES.items():
        boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key=f"tree/{name}", Body=data)
    return open_tree(f"{bucket}/tree")


def read(tree: Tree, name: str, most: int = -1) -> bytes | str:
    try:
        return tree.read(name, most)
    except Drop as drop:
        return drop.reason


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    place = "s3://no-such-bucket-of-ours/a"
    for find in (lambda: open_tree(place).names(Counter()), Pattern(place, (".tar",)).find):
        with pytest.raises(RequestError, match=f"^cannot read {place}: .*bucket does not exist"):
            list(find())


@pytest.mark.parametrize("place", ["local", "remote"])
def test_a_file_is_read_or_has_its_reason(
    place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is taken for an outage, which would be waited for."""
    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.WAITS", ())
    tree: Tree = request.getfixturevalue(place)
    assert {name: read(tree, name) for name in FILES} == FILES
    assert {name: read(tree, name, 4) for name in FILES} == {name: data[:4] for name, data in FILES.items()}
    assert {name: read(tree, name, 4) for name in NAMES} == NAMES
    assert read(tree, "n" * 300) == ("file not readable" if place == "local" else "no such file")
    assert read(tree, "n" * 1100) == ("file not readable" if place == "local" else "no such file")
    assert read(tree, "sub") == ("not a regular file" if place == "local" else "no such file")
