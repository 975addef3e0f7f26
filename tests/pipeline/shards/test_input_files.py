"""Files by a pattern: those that match, by name, and where they all lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.shards.input_files import Pattern


@pytest.mark.parametrize(
    ("pattern", "base"),
    [
        ("s3://b/x/*.tar", "s3://b/x"),
        ("s3://b/x/", "s3://b/x"),
        ("s3://b/x/1.tar", "s3://b/x"),
        ("s3://b/x/1.TAR", "s3://b/x"),
        ("/a/b?/c.tar", "/a"),
        ("/*.tar", "/"),
        ("file:///a/b.tar", "/a"),
        ("a/*.tar", f"{os.getcwd()}/a"),
        ("*.tar", os.getcwd()),
    ],
)
def test_the_base_of_a_pattern(pattern: str, base: str) -> None:
    assert Pattern(pattern, (".tar",)).base == base


def test_files_are_found_by_name_and_opened_again(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "sub/c.TAR", "d.txt", ".hidden.tar", ".git/e.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    pattern = Pattern(str(tmp_path), (".tar",))
    assert [(file.name, file.size) for file in pattern.find()] == [("a.tar", 5), ("b.tar", 5), ("sub/c.TAR", 9)]
    for file in pattern.find():
        with pattern.open(file.name) as again, file.open() as stream:
            assert again.read() == stream.read() == file.name.encode()
    assert [file.name for file in Pattern(f"{tmp_path}/*.t*", (".tar",)).find()] == ["a.tar", "b.tar", "d.txt"]
    assert Pattern(f"{tmp_path}/gone.tar", (".tar",)).find() == []
    (tmp_path / "fifo.tar").symlink_to("/dev/null")
    with pytest.raises(OSError, match="must be a regular file"):
        pattern.open("fifo.tar")
    with pytest.raises(RequestError, match=r"without '\.\.'"):
        pattern.open("../secret.tar")
