"""Sending a publication to the Hugging Face Hub: shards first, what vouches for them last.

The library's own commits are used, a few files at a time, so that a run that is cut off has something to show.
What the Hub has already, by its own digests, is not sent again; and by them the whole is checked in the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import IncompleteError, RequestError
from pipeline.publish.finish import CARD
from pipeline.publish.plan import MANIFEST, SUMS
from pipeline.stage import describe_error
from pipeline.store import map_file

PREFIX = "hf://datasets/"
AT_ONCE = 40
"""Files of one commit."""
LAST = (CARD, MANIFEST, SUMS)
KEPT = (".gitattributes",)
"""Files that are the Hub's own."""


@dataclass(frozen=True)
class LocalFile:
    """A file to be sent, with the digests by which the Hub may know it."""

    path: Path
    sha256: str
    blob: str


def parse_repository(to: str) -> str | None:
    """user/name of hf://datasets/user/name; None for another kind of place. RequestError for a malformed one."""
    if not to.startswith("hf://"):
        return None
    name = to.removeprefix(PREFIX).strip("/")
    if not to.startswith(PREFIX) or name.count("/") != 1 or "@" in name:
        raise RequestError(f"--to on the Hub must be hf://datasets/USER/NAME, not {to!r}")
    return name


def default_staging(repository: str) -> Path:
    """Where a publication is put together for the Hub."""
    return Path.home() / ".cache" / "t2i-shards" / "publish" / repository.replace("/", "--")


def send(folder: Path, repository: str) -> int:
    """Make the dataset repository hold exactly the publication in `folder`. How many files were sent.

    Raises RequestError unless the publication is whole, ConnectionError when the Hub cannot be reached or refuses,
    IncompleteError when it holds other bytes in the end.
    """
    if not (folder / SUMS).is_file():
        raise RequestError(f"{folder} is no whole publication: {SUMS}, which is written last, is not there")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    local = _local_files(folder)
    with _reaching(repository):
        api.create_repo(repository, repo_type="dataset", exist_ok=True)
        remote = _remote_files(api, repository)
        missing = [name for name in local if not _same(local[name], remote.get(name))]
        strangers = [name for name in remote if name not in local and name not in KEPT]
        if not missing and not strangers:
            return 0

        def commit(operations: Sequence[Any], message: str) -> None:
            api.create_commit(repository, operations, commit_message=message, repo_type="dataset")

        def adds(names: Sequence[str]) -> list[Any]:
            return [CommitOperationAdd(path_in_repo=name, path_or_fileobj=local[name].path) for name in names]

        # What vouched for the old bytes must not stand beside new ones.
        vouching = [name for name in (MANIFEST, SUMS) if name in remote]
        if vouching:
            commit([CommitOperationDelete(path_in_repo=name) for name in vouching], "Begin a new revision")
            strangers = [name for name in strangers if name not in vouching]
        body = [name for name in missing if name not in LAST]
        for start in range(0, len(body), AT_ONCE):
            part = f"part {start // AT_ONCE + 1} of {-(-len(body) // AT_ONCE)}"
            commit(adds(body[start : start + AT_ONCE]), f"Shards, {part}")
        last = [name for name in LAST if name in missing or name in vouching]
        commit([*adds(last), *(CommitOperationDelete(path_in_repo=name) for name in strangers)], "Card and sums")
        there = _remote_files(api, repository)
    wrong = sorted(name for name in local if not _same(local[name], there.get(name)))
    if wrong:
        raise IncompleteError(
            f"{PREFIX}{repository} has other bytes than were sent, first in {wrong[0]}; run again"
        )
    return len(body) + len(last)


def _local_files(folder: Path) -> dict[str, LocalFile]:
    """Every file of the publication, the sums among them."""
    names = [line.split("  ", 1)[1] for line in (folder / SUMS).read_text().splitlines()] + [SUMS]
    files = {}
    for name in sorted(names):
        data = map_file(folder / name)
        blob = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
        blob.update(data)
        files[name] = LocalFile(folder / name, hashlib.sha256(data).hexdigest(), blob.hexdigest())
    return files


def _remote_files(api: Any, repository: str) -> Mapping[str, Any]:
    """Path -> what the Hub says of the file."""
    found = api.list_repo_tree(repository, recursive=True, repo_type="dataset")
    return {entry.path: entry for entry in found if hasattr(entry, "blob_id")}


def _same(local: LocalFile, remote: Any) -> bool:
    """Whether the Hub has these bytes: by their sha256 where it keeps a file apart, else by git's own digest."""
    if remote is None:
        return False
    if remote.lfs is not None:
        return bool(remote.lfs.sha256 == local.sha256)
    return bool(remote.blob_id == local.blob)


@contextmanager
def _reaching(repository: str) -> Iterator[None]:
    """ConnectionError for what the Hub's client raises."""
    try:
        yield
    except (RequestError, IncompleteError):
        raise
    except Exception as error:
        raise ConnectionError(f"{PREFIX}{repository}: {describe_error(error)}; run again to go on") from error
