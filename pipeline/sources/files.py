"""The files that a source reads, tables or tars: found to make the plan, and again by the workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.shards.input_files import InputFile, Pattern
from t2i_shards.pipeline.shards.remote_read import read_with_retry

PICTURE_BYTES = 256 << 20
"""Of the file of a picture; a larger one is a drop."""


def make_absolute(pattern: str) -> str:
    """The pattern for workers of a cluster, whose working folder is not that of the command."""
    return pattern if "://" in pattern else str(Path.cwd() / pattern)


def find_files(files: Pattern, rule: str) -> list[InputFile]:
    """The files by name. Raises RequestError, which begins with `rule`, where there are none, and Unreachable."""
    found = read_with_retry(files.pattern, files.find) if is_far(files) else files.find()
    if not found:
        raise RequestError(f"{rule}; none match {files.pattern!r}")
    return found


def digest_files(lines: Iterable[tuple[object, ...]]) -> str:
    """sha256 over what is known of each file."""
    text = "".join("\0".join(map(str, line)) + "\n" for line in lines)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def is_far(files: Pattern) -> bool:
    """Whether they are not in a folder of this machine."""
    return "://" in files.base


def check_base(files: Pattern) -> None:
    """Raises RequestError on a machine that lacks the folder, where every picture would be a drop."""
    if not is_far(files) and not Path(files.base).is_dir():
        raise RequestError(f"{files.base}: must exist on every machine that works")


def find_at_work(files: Pattern, names: Iterable[str]) -> dict[str, InputFile]:
    """name -> file, for files that were there when the plan was made.

    Raises RequestError when one is gone, and Unreachable.
    """
    check_base(files)
    found = {file.name: file for file in read_with_retry(files.base, files.find)}
    for name in names:
        if name not in found:
            raise RequestError(f"{files.base}/{name}: must exist on every machine that works")
    return found


def check_size(size: int) -> None:
    """Raises Drop for the file of a picture that has more than PICTURE_BYTES."""
    if size > PICTURE_BYTES:
        raise Drop("file too large")
